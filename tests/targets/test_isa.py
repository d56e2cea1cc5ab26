"""The dot product of every instruction set: exact, and the instruction that is meant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Isa
from qcompile.targets.x86 import AVX2, AVXVNNI, VNNI512
from tests.targets.convolutions import RUNNABLE, target

STEPS = 8

INSTRUCTIONS = {VNNI512: "vpdpbusd", AVXVNNI: "vpdpbusd", AVX2: "vpmaddwd"}


def dots(isa: Isa) -> Any:
    """Return a function that sums STEPS dots of one pixel with one vector of weights."""
    lanes, size = isa.lanes, STEPS * isa.k_group
    with IRBuilder() as builder, tir.prim_func():
        tir.func_name("main")
        x = tir.arg("x", tir.Buffer((size,), isa.activation))
        w = tir.arg("w", tir.Buffer((size * lanes,), "int8"))
        y = tir.arg("y", tir.Buffer((lanes,), "int32"))
        tir.func_attr({"tirx.noalias": True})
        acc = tir.broadcast(tir.int32(0), lanes)
        for step in range(STEPS):
            a = isa.broadcast(x, step * isa.k_group)
            acc = isa.dot(acc, a, isa.weights(w, step * isa.k_group * lanes))
        tir.buffer_store(y, acc, [tir.ramp(0, 1, lanes)])
    return builder.get()


@pytest.mark.parametrize("isa", RUNNABLE, ids=lambda isa: isa.name)
@pytest.mark.parametrize("weight", [-128, -127, 0, 127, None])
@pytest.mark.parametrize("activation", [0, 1, 255, None])
def test_dot_is_exact(isa: Isa, weight: int | None, activation: int | None) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (STEPS, isa.k_group), dtype=np.uint8)
    w = rng.integers(-128, 128, (STEPS, isa.lanes, isa.k_group), dtype=np.int8)
    if activation is not None:
        x[...] = activation
    if weight is not None:
        w[...] = weight
    y = tvm.runtime.tensor(np.zeros(isa.lanes, np.int32))
    function = tvm.compile(dots(isa), target=target(isa))["main"]
    function(tvm.runtime.tensor(x.ravel()), tvm.runtime.tensor(w.ravel()), y)
    assert np.array_equal(y.numpy(), np.einsum("sk,slk->l", x.astype(int), w.astype(int)))


@pytest.mark.parametrize("isa", INSTRUCTIONS, ids=lambda isa: isa.name)
def test_compiles_to_its_instruction(isa: Isa) -> None:
    """For the processors that it is meant for, whether or not this is one of them."""
    module = tvm.compile(dots(isa), target=tvm.target.Target(dict(isa.tvm_target)))
    assembly = module.mod.inspect_source("asm")
    assert INSTRUCTIONS[isa] in assembly
    assert "vpmaddubsw" not in assembly
    assert ("zmm" in assembly) == (isa.lanes == 16)
