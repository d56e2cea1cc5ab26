"""The dot products of every instruction set: exact, and the instruction that is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tvm
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.arm_isa import DOTPROD, I8MM, NEON
from qcompile.targets.isa import Isa
from qcompile.targets.x86_isa import AVX2, AVXVNNI, VNNI512
from tests.targets import emulator
from tests.targets.convolutions import RUNNABLE, target
from tests.targets.emulator import needs_emulator

Array = npt.NDArray[Any]

STEPS = 8

INSTRUCTIONS = {
    VNNI512: "vpdpbusd",
    AVXVNNI: "vpdpbusd",
    AVX2: "vpmaddwd",
    NEON: "smlal2?",
    DOTPROD: "sdot",
    I8MM: "smmla",
}
ISAS = [*RUNNABLE, *(pytest.param(isa, marks=needs_emulator) for isa in emulator.CPUS)]


def dots(isa: Isa) -> Any:
    """Return a function that sums STEPS dots of a dot's pixels with its channels."""
    lanes, size = isa.lanes, STEPS * isa.k_group
    register = lanes // isa.rows * isa.k_group
    with IRBuilder() as builder, tir.prim_func():
        tir.func_name("main")
        x = tir.arg("x", tir.Buffer((isa.rows * size,), isa.activation))
        w = tir.arg("w", tir.Buffer((STEPS * register,), "int8"))
        y = tir.arg("y", tir.Buffer((lanes,), "int32"))
        tir.func_attr({"tirx.noalias": True})
        acc = tir.broadcast(tir.int32(0), lanes)
        for step in range(STEPS):
            load = step // isa.groups * isa.groups
            pixels = [row * size + load * isa.k_group for row in range(isa.rows)]
            a = isa.activations(x, pixels, step - load, isa.groups)
            acc = isa.dot(acc, a, isa.weights(w, step * register, 0, 1))
        tir.buffer_store(y, acc, [tir.ramp(0, 1, lanes)])
    return builder.get()


def run(function: Any, isa: Isa, arrays: Sequence[Array]) -> Array:
    if isa in emulator.CPUS:
        return emulator.run(function, isa, arrays)
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    tvm.compile(function, target=target(isa))["main"](*tensors)
    return np.asarray(tensors[-1].numpy())


def assembly(isa: Isa) -> str:
    module = tvm.compile(dots(isa), target=tvm.target.Target(dict(isa.tvm_target)))
    return str(module.mod.inspect_source("asm"))


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("weight", [-128, 127, None])
@pytest.mark.parametrize("activation", ["lowest", "highest", None])
def test_dot_is_exact(isa: Isa, weight: int | None, activation: str | None) -> None:
    rng, info = np.random.default_rng(0), np.iinfo(isa.activation)
    shape = (isa.rows, STEPS, isa.k_group)
    x = rng.integers(info.min, info.max, shape, isa.activation, endpoint=True)
    channels = isa.lanes // isa.rows
    w = rng.integers(-128, 128, (STEPS, channels, isa.k_group), dtype=np.int8)
    if activation is not None:
        x[...] = info.min if activation == "lowest" else info.max
    if weight is not None:
        w[...] = weight
    got = run(dots(isa), isa, [x.ravel(), w.ravel(), np.zeros(isa.lanes, np.int32)])
    expected = np.einsum("rsk,sck->rc", x.astype(int), w.astype(int))
    assert np.array_equal(got.reshape(expected.shape), expected)


@pytest.mark.parametrize("isa", INSTRUCTIONS, ids=lambda isa: isa.name)
def test_compiles_to_its_instruction(isa: Isa) -> None:
    """For the processors that it is meant for, whether or not this is one of them."""
    text = assembly(isa)
    assert re.search(rf"\t{INSTRUCTIONS[isa]}\t", text)
    assert "vpmaddubsw" not in text
    assert ("zmm" in text) == (isa.lanes == 16)


@pytest.mark.parametrize(
    ("isa", "others"),
    [(NEON, ("sdot", "smmla")), (DOTPROD, ("smmla",))],
    ids=["neon", "dotprod"],
)
def test_keeps_to_its_set(isa: Isa, others: tuple[str, ...]) -> None:
    text = assembly(isa)
    assert not any(instruction in text for instruction in others)
