"""The emulated board, used as a board is: uploads, runs, what its CPU lacks."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

import qcompile
from qcompile import oracle
from qcompile.bundle.c_source import Source
from qcompile.bundle.memory import plan
from qcompile.bundle.program import Call, Program
from qcompile.errors import CompileError
from qcompile.target import Target
from qcompile.targets import TARGETS, open_device
from qcompile.targets.build import build_library
from qcompile.targets.c_kernels import compile_kernels
from tests.compiled import fake_target
from tests.graphs import graph
from tests.nets import NETS, net, samples
from tests.targets.boards import board, needs_board

pytestmark = needs_board

LANES = 16
WEAKEST = {"arm-neon": "cortex-a72", "arm-dotprod": "neoverse-n1", "arm-i8mm": "max"}
"""The weakest CPU model of the emulator that has a target's instructions."""

ARM = [name for name, target in TARGETS.items() if target.arch == "aarch64"]
SDOT = "llvm.aarch64.neon.sdot.v4i32.v16i8"
MODEL = graph(f"g (int32[{LANES}] x) => (int32[{LANES}] y) {{ y = Identity(x) }}")


def kernel(vector: Callable[[Any], Any]) -> Any:
    """Return `y = vector(x)`, four lanes at a time."""
    with IRBuilder() as builder, tir.prim_func(s_tir=True):
        tir.func_name("kernel")
        x = tir.arg("x", tir.Buffer((LANES,), "int32"))
        y = tir.arg("y", tir.Buffer((LANES,), "int32"))
        for i in range(0, LANES, 4):
            tir.buffer_store(y, vector(x.vload([i], "int32x4")), [tir.ramp(i, 1, 4)])
    return builder.get()


def double(x: Any) -> Any:
    """Any aarch64 CPU runs this."""
    return x + x


def dot(x: Any) -> Any:
    """Needs the dot-product instructions: x + the squares of its four bytes."""
    x8 = tir.reinterpret("int8x16", x)
    return tir.call_llvm_pure_intrin("int32x4", SDOT, x, x8, x8)


def library(vector: Callable[[Any], Any]) -> bytes:
    """Return a library for aarch64 whose `model_run` calls the kernel."""
    triple = "aarch64-linux-gnu"
    target = {"kind": "llvm", "mtriple": triple, "mattr": ["+neon", "+dotprod"]}
    kernels = compile_kernels(tvm.IRModule({"kernel": kernel(vector)}), target)
    program = Program(
        object_code=kernels.object_code,
        calls=(Call(kernels.symbol("kernel"), (0,), (1,)),),
        sizes=(4 * LANES, 4 * LANES),
        constants={},
        inputs=(0,),
        outputs=(1,),
    )
    source = Source(
        target="aarch64",
        inputs=tuple(MODEL.graph.inputs),
        outputs=tuple(MODEL.graph.outputs),
        program=program,
        arena=plan(program),
    )
    return build_library(source, triple)


def aarch64(*features: str) -> Target:
    return dataclasses.replace(fake_target(), arch="aarch64", features=features)


PLAIN, DOTPROD = "cortex-a72", "neoverse-n1"
"""CPU models with v8.0 instructions only, and with dot products."""


@pytest.fixture(scope="module")
def url_of() -> Iterator[Callable[[str], str]]:
    """Gives the URL of a board with that CPU model; each is started once."""
    with contextlib.ExitStack() as running:
        yield cache(lambda cpu: running.enter_context(board(cpu)))


def test_facts_are_the_emulated_cpus(url_of: Callable[[str], str]) -> None:
    with open_device(url_of(PLAIN)) as device:
        assert device.facts["arch"] == "aarch64"
        assert {"asimd", "fp"} <= set(device.facts["features"])
        assert not {"asimddp", "i8mm", "avx2"} & set(device.facts["features"])
        assert device.facts["emulated"]


def test_library_runs_there(url_of: Callable[[str], str], tmp_path: Path) -> None:
    x = np.arange(LANES, dtype=np.int32)
    built = library(double)
    with open_device(url_of(PLAIN)) as device:
        runner = device.load(aarch64("asimd"), built, MODEL)
        for _ in range(2):
            np.testing.assert_array_equal(runner({"x": x})["y"], x * 2, strict=True)
            x = x[::-1]
        times = device.seconds(aarch64("asimd"), built, MODEL, {"x": x}, runs=5, threads=1)
        assert len(times) == 5
        assert min(times) > 0


def test_device_that_lacks_an_instruction(url_of: Callable[[str], str]) -> None:
    """Refused where the target says what it needs; if it lies, the emulator objects."""
    x = np.random.default_rng(0).integers(-(2**30), 2**30, LANES, np.int32)
    squares = x.view(np.int8).reshape(-1, 4).astype(np.int32) ** 2
    built = library(dot)
    with open_device(url_of(PLAIN)) as device:
        with pytest.raises(CompileError, match="the device's CPU lacks asimddp"):
            device.load(aarch64("asimd", "asimddp"), built, MODEL)
        with pytest.raises(CompileError, match="the device is aarch64"):
            device.load(fake_target(), built, MODEL)
        runner = device.load(aarch64("asimd"), built, MODEL)
        with pytest.raises(CompileError, match=r"ended the connection\n  hint: see the serv"):
            runner({"x": x})
    with open_device(url_of(DOTPROD)) as device:
        got = device.load(aarch64("asimddp"), built, MODEL)({"x": x})["y"]
    np.testing.assert_array_equal(got, x + squares.sum(axis=1))


@pytest.mark.parametrize("name", ARM)
def test_target_on_its_weakest_cpu(name: str, url_of: Callable[[str], str]) -> None:
    source = net(NETS["branches that meet"])
    model = qcompile.compile(source, name, calibration=samples(source, 2))
    with open_device(url_of(WEAKEST[name])) as device:
        there = model.on(device)
        for inputs in samples(source, 2, seed=1):
            got, expected = there.run(inputs), oracle.run(model.integer_graph, inputs)
            for output, array in expected.items():
                np.testing.assert_array_equal(got[output], array, strict=True)
        report = there.validate(samples(source, 1), layers=True)
    assert report["oracle"]["bit_exact"]
    assert report["emulated"]
