"""Regions: what an operator absorbs, and what it must leave alone."""

from __future__ import annotations

import math

import onnx_ir as ir
import pytest

from qcompile.regions import find_regions
from tests.graphs import graph
from tests.quantization import typed

IMAGE = "float[1,2,4,4]"
SQUARE = "float[2,2,1,1] w = {1., 2., 3., 4.}"

REGIONS = {
    "conv, bias, residual, relu": (
        f"""g ({IMAGE} x, {IMAGE} r) => ({IMAGE} y) <{SQUARE}, float[1,2,1,1] b = {{1., 2.}}>
        {{ a = Conv(x, w)  c = Add(a, b)  s = Add(r, c)  y = Relu(s) }}""",
        ["Conv+Add+Add+Relu(x; r) [0, inf] -> y, bias b"],
    ),
    "clip with constant bounds": (
        f"""g ({IMAGE} x) => ({IMAGE} y) <{SQUARE}, float l = {{-1.}}, float h = {{6.}}>
        {{ a = Conv(x, w)  y = Clip(a, l, h) }}""",
        ["Conv+Clip(x) [-1, 6] -> y"],
    ),
    "a sum of constants, one of them quantized": (
        f"""g ({IMAGE} x) => ({IMAGE} y)
        <uint8 q = {{3}}, float s = {{0.5}}, uint8 z = {{0}}, float k = {{1.}}>
        {{ d = DequantizeLinear(q, s, z)  a = Add(d, k)  y = Mul(x, a) }}""",
        ["Add() -> a", "Mul(x, a) -> y"],
    ),
    "clip with a computed bound": (
        f"""g ({IMAGE} x, float l) => ({IMAGE} y) <{SQUARE}>
        {{ a = Conv(x, w)  y = Clip(a, l) }}""",
        ["Conv(x) -> a"],
    ),
    "two readers": (
        f"""g ({IMAGE} x) => ({IMAGE} y, {IMAGE} z) <{SQUARE}>
        {{ a = Conv(x, w)  y = Relu(a)  z = Neg(a) }}""",
        ["Conv(x) -> a", "Relu(a) -> y", "Neg(a) -> z"],
    ),
    "a graph output between": (
        f"""g ({IMAGE} x) => ({IMAGE} a, {IMAGE} y) <{SQUARE}>
        {{ a = Conv(x, w)  y = Relu(a) }}""",
        ["Conv(x) -> a", "Relu(a) -> y"],
    ),
    "a + a is no residual": (
        f"""g ({IMAGE} x) => ({IMAGE} y) <{SQUARE}> {{ a = Conv(x, w)  y = Add(a, a) }}""",
        ["Conv(x) -> a", "Add(a, a) -> y"],
    ),
    "a residual of another shape": (
        f"""g ({IMAGE} x, float[1,2,1,1] r) => ({IMAGE} y) <{SQUARE}>
        {{ a = Conv(x, w)  y = Add(a, r) }}""",
        ["Conv(x) -> a", "Add(a, r) -> y"],
    ),
    "of two convolutions the later absorbs the sum": (
        f"""g ({IMAGE} x) => ({IMAGE} y) <{SQUARE}>
        {{ a = Conv(x, w)  b = Conv(x, w)  y = Add(a, b) }}""",
        ["Conv(x) -> a", "Conv+Add(x; a) -> y"],
    ),
    "a constant that is no bias": (
        f"""g ({IMAGE} x) => ({IMAGE} y)
        <{SQUARE}, float[4] b = {{1., 2., 3., 4.}}> {{ a = Conv(x, w)  y = Add(a, b) }}""",
        ["Conv(x) -> a", "Add(a) -> y"],
    ),
    "a second bias": (
        f"""g ({IMAGE} x) => ({IMAGE} y)
        <{SQUARE}, float[2] c = {{1., 2.}}, float[1,2,1,1] b = {{1., 2.}}>
        {{ a = Conv(x, w, c)  y = Add(a, b) }}""",
        ["Conv(x) -> a", "Add(a) -> y"],
    ),
    "a bias of a product lies along the last axis": (
        """g (float[1,3,2] x) => (float[1,3,2] y)
        <float[2,2] w = {1., 2., 3., 4.}, float[2] b = {1., 2.}>
        { a = MatMul(x, w)  y = Add(b, a) }""",
        ["MatMul+Add(x) -> y, bias b"],
    ),
    "an add of two inputs and its relu": (
        f"g ({IMAGE} x, {IMAGE} r) => ({IMAGE} y) {{ a = Add(x, r)  y = Relu(a) }}",
        ["Add+Relu(x, r) [0, inf] -> y"],
    ),
    "functions of one number are one table": (
        f"g ({IMAGE} x) => ({IMAGE} y) {{ a = Sigmoid(x)  y = Relu(a) }}",
        ["Sigmoid+Relu(x) -> y"],
    ),
    "a silu reads its input twice": (
        f"g ({IMAGE} x) => ({IMAGE} y) {{ a = Sigmoid(x)  y = Mul(a, x) }}",
        ["Sigmoid+Mul(x) -> y"],
    ),
    "a gate of another tensor is none": (
        f"g ({IMAGE} x, {IMAGE} g) => ({IMAGE} y) {{ a = Sigmoid(x)  y = Mul(a, g) }}",
        ["Sigmoid(x) -> a", "Mul(a, g) -> y"],
    ),
    "a concat reads all its inputs, a reshape one": (
        """g (float[2] x, float[2] r) => (float[2,2] y) <int64[2] s = {2, 2}>
        { a = Concat <axis=0> (x, r)  y = Reshape(a, s) }""",
        ["Concat(x, r) -> a", "Reshape(a) -> y"],
    ),
    "a reader inside a branch": (
        f"""g (bool c, {IMAGE} x) => ({IMAGE} y) <{SQUARE}>
        {{ a = Conv(x, w)
          y = If (c) <then_branch: graph = t () => ({IMAGE} b) {{ b = Relu(a) }},
                      else_branch: graph = e () => ({IMAGE} d) {{ d = Identity(x) }}> }}""",
        ["Conv(x) -> a"],
    ),
}


def describe(graph: ir.Graph, floats: frozenset[str] = frozenset()) -> list[str]:
    """Return one line a region; nodes that give a value of `floats` stay float."""
    lines = []
    for region in find_regions(
        graph, lambda node: "kept" if node.outputs[0].name in floats else None
    ):
        steps = "+".join(node.op_type for node in region.nodes)
        inputs = ", ".join(str(value.name) for value in region.inputs)
        residual = f"; {region.residual.name}" if region.residual else ""
        open_ended = (region.low, region.high) == (-math.inf, math.inf)
        bounds = "" if open_ended else f" [{region.low:g}, {region.high:g}]"
        bias = f", bias {region.bias.name}" if region.bias else ""
        lines.append(f"{steps}({inputs}{residual}){bounds} -> {region.output.name}{bias}")
    return lines


@pytest.mark.parametrize(("text", "expected"), REGIONS.values(), ids=REGIONS)
def test_regions(text: str, expected: list[str]) -> None:
    assert describe(typed(graph(text)).graph) == expected


FLOATS = {
    "the activation": ({"y"}, ["Conv(x) -> a", "Conv+Add(x; a) -> s"]),
    "the sum": ({"s"}, ["Conv(x) -> a", "Conv(x) -> b", "Relu(s) -> y"]),
    "the later convolution": ({"b"}, ["Conv+Add+Relu(x; b) [0, inf] -> y"]),
    "the earlier convolution": ({"a"}, ["Conv+Add+Relu(x; a) [0, inf] -> y"]),
}


@pytest.mark.parametrize(("floats", "expected"), FLOATS.values(), ids=FLOATS)
def test_what_stays_float_is_not_absorbed(floats: set[str], expected: list[str]) -> None:
    text = f"""g ({IMAGE} x) => ({IMAGE} y) <{SQUARE}>
        {{ a = Conv(x, w)  b = Conv(x, w)  s = Add(a, b)  y = Relu(s) }}"""
    assert describe(typed(graph(text)).graph, frozenset(floats)) == expected


def test_a_bias_is_part_of_its_operator_even_where_add_stays_float() -> None:
    text, expected = REGIONS["a bias of a product lies along the last axis"]
    assert describe(typed(graph(text)).graph, frozenset({"y"})) == expected


def test_no_shape_no_residual() -> None:
    model = typed(
        graph(f"""g ({IMAGE} x, {IMAGE} r) => ({IMAGE} y) <{SQUARE}>
        {{ a = Conv(x, w)  s = Neg(r)  y = Add(a, s) }}""")
    )
    for node in list(model.graph)[:2]:
        node.outputs[0].shape = None
    assert describe(model.graph) == ["Conv(x) -> a", "Neg(r) -> s", "Add(a, s) -> y"]
