"""Whole networks, lowered for every instruction set: each value is the oracle's."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from _pytest.mark import ParameterSet

from qcompile import oracle
from qcompile.compiler import compile_model, integer_passes, quantize_model
from qcompile.config import CompileConfig
from qcompile.host import host_arch, host_features
from qcompile.importer.load_model import load_model
from qcompile.pipeline import run_passes
from qcompile.report import is_float
from qcompile.target import Runner, Target
from qcompile.targets import TARGETS, fitting, open_device
from qcompile.targets.devices.remote import RemoteDevice
from qcompile.targets.lowering import TvmLowering
from qcompile.validation.first_difference import judge
from tests.nets import NETS, net, samples
from tests.targets.boards import board, needs_board
from tests.targets.emulator import CPUS

HOST = (host_arch(), host_features())
STATIC = CompileConfig(recipe="static-int8")
"""So that what a network shows does not hang on which recipe is the better for it."""


def runnable(target: Target) -> Target:
    """Return the target with its dot product encoded for the CPU that runs the tests.

    The 256-bit vpdpbusd has an AVX-VNNI and an AVX-512VL encoding with one meaning; machines
    with AVX-512 VNNI execute the latter.
    """
    if target.name != "x86-avxvnni":
        return target
    assert isinstance(target.lowering, TvmLowering)
    isa = target.lowering.isa
    isa = dataclasses.replace(isa, tvm_target={**isa.tvm_target, "mcpu": "cascadelake"})
    features = TARGETS["x86-vnni"].features
    return dataclasses.replace(target, lowering=TvmLowering(lambda: isa), features=features)


HERE = [name for name, target in TARGETS.items() if target.arch == host_arch()]
THERE = [name for name, target in TARGETS.items() if target.arch == "aarch64" != host_arch()]


def in_turn(targets: Sequence[str], always: Collection[str] = ()) -> list[ParameterSet]:
    """Return every network on every target; those out of turn are slow tests.

    Each network is on `always` and on one of the other targets in turn, so that every target
    sees its share of every family.
    """
    others = [name for name in targets if name not in always]
    cases = []
    for number, name in enumerate(NETS):
        turn = {*always, others[number % len(others)]} if others else {*always}
        for target in targets:
            marks = () if target in turn else (pytest.mark.slow,)
            cases.append(pytest.param(name, target, marks=marks, id=f"{name}-{target}"))
    return cases


def every_value(target: Target, graph: ir.Model, folder: Path) -> Runner:
    """Return a runner that gives out the value of every node."""
    library = folder / "library.so"
    library.write_bytes(target.lowering.build(graph, every_value=True).library)
    return target.lowering.load(library, graph, every_value=True)


@pytest.fixture(scope="module")
def device_of() -> Iterator[Callable[[str], RemoteDevice]]:
    """Return a function from a target to a board with the weakest CPU that it may have."""
    with contextlib.ExitStack() as boards:

        @cache
        def start(name: str) -> RemoteDevice:
            lowering = TARGETS[name].lowering
            assert isinstance(lowering, TvmLowering)
            return boards.enter_context(
                open_device(boards.enter_context(board(CPUS[lowering.isa])))
            )

        yield start


@pytest.mark.parametrize(("name", "target"), in_turn(HERE, always=HERE[:1]))
def test_every_value_is_the_oracles(name: str, target: str, tmp_path: Path) -> None:
    model = net(NETS[name])
    compiled = compile_model(
        model, runnable(TARGETS[target]), calibration=samples(model, 4), config=STATIC
    )
    graph = compiled.integer_graph
    runner = every_value(compiled.target, graph, tmp_path)
    produced = {str(value.name) for node in graph.graph for value in node.outputs}
    for inputs in samples(model, 3, seed=1):
        values = {**inputs, **runner(inputs)}
        assert set(values) >= produced
        assert [each for each in judge(graph, values) if each["differences"]] == []
        if not any(is_float(node) for node in graph.graph):
            expected, got = oracle.run(graph, inputs), compiled.run(inputs)
            assert all(np.array_equal(expected[key], got[key]) for key in expected)


@needs_board
@pytest.mark.parametrize(("name", "target"), in_turn(THERE))
def test_every_value_on_a_board(
    name: str, target: str, device_of: Callable[[str], RemoteDevice]
) -> None:
    model = net(NETS[name])
    compiled = compile_model(model, target, calibration=samples(model, 4), config=STATIC)
    there = compiled.on(device_of(target))
    report = there.validate(samples(model, 1, seed=1), layers=True)["oracle"]
    assert report["bit_exact"]
    assert not any(layer["differences"] for layer in report["layers"])


@pytest.mark.parametrize("name", NETS)
def test_one_scheme_has_one_answer_on_every_family(name: str) -> None:
    """u8 or s8 activations, as each target's dot product wants them: the same numbers."""
    source = net(NETS[name])
    quantized = quantize_model(
        source, "x86-vnni", calibration=samples(source, 4), config=STATIC
    )
    graphs = [
        run_passes(load_model(quantized, None), integer_passes(TARGETS[target], STATIC))
        for target in ("x86-vnni", "arm-dotprod")
    ]
    kinds = [
        {value.dtype for node in graph.graph for value in node.outputs} for graph in graphs
    ]
    assert ir.DataType.UINT8 not in kinds[1]
    assert ir.DataType.INT8 not in kinds[0]
    for inputs in samples(source, 3, seed=1):
        expected, got = (oracle.run(graph, inputs) for graph in graphs)
        for output, array in expected.items():
            np.testing.assert_array_equal(got[output], array, strict=True)


@needs_board
@pytest.mark.skipif(
    "x86-vnni" not in {target.name for target in fitting(*HOST)}, reason="VNNI"
)
def test_one_scheme_has_one_answer_on_two_machines(
    device_of: Callable[[str], RemoteDevice],
) -> None:
    source = net(NETS["pools and a classifier"])
    here = compile_model(source, "x86-vnni", calibration=samples(source, 4))
    there = compile_model(here.qdq_graph, "arm-dotprod").on(device_of("arm-dotprod"))
    for inputs in samples(source, 3, seed=1):
        expected, got = here.run(inputs)["y"], there.run(inputs)["y"]
        np.testing.assert_array_equal(got, expected, strict=True)


def test_what_was_built_is_reported() -> None:
    model = net(NETS["convolutions and a residual"])
    compiled = compile_model(model, "x86-vnni", calibration=samples(model, 4))
    report = compiled.report
    assert report["ops"] == {"total": 3, "integer": 3, "float": 0}
    assert report["macs"]["integer"] == report["macs"]["total"] == 9 * 11 * 9 * 16 * (3 + 32)
    kernels = [kernel["kernel"] for kernel in compiled.manifest["kernels"]]
    assert kernels == ["Quantize", "DenseConv", "DenseConv", "DenseConv", "Move"]


def test_a_flatten_of_single_pixels_moves_nothing() -> None:
    model = net(NETS["pools and a classifier"])
    compiled = compile_model(model, "x86-vnni", calibration=samples(model, 4))
    assert "Move" not in [kernel["kernel"] for kernel in compiled.manifest["kernels"]]
