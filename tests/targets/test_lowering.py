"""Whole networks, lowered for every instruction set: each value is the oracle's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from qcompile import oracle
from qcompile.compiler import compile_model
from qcompile.report import is_float
from qcompile.target import Runner, Target
from qcompile.targets import TARGETS
from qcompile.targets.lowering import TvmLowering
from qcompile.validation.first_difference import judge
from tests.nets import NETS, net, samples


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
    return dataclasses.replace(target, lowering=TvmLowering(isa), features=features)


def every_value(target: Target, graph: ir.Model, folder: Path) -> Runner:
    """Return a runner that gives out the value of every node."""
    library = folder / "library.so"
    library.write_bytes(target.lowering.build(graph, every_value=True).library)
    return target.lowering.load(library, graph, every_value=True)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NETS)
def test_every_value_is_the_oracles(name: str, target: str, tmp_path: Path) -> None:
    model = net(NETS[name])
    compiled = compile_model(model, runnable(TARGETS[target]), calibration=samples(model, 4))
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
