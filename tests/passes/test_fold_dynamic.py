"""What dynamic quantization writes out becomes one node each."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from qcompile.passes.fold_dynamic import FoldDynamic
from tests.graphs import assert_graph, graph

WEIGHTS = "int8[2,2] w = {1, -2, 3, 4}, float[2] s_w = {0.5, 0.25}, float[2] b = {1.0, 2.0}"
X = "g (float[3,2] x) => (float[3,2] y)"
QUANTIZE = "q, s, z = DynamicQuantizeLinear(x)  m = MatMulInteger(q, w, z)"
BOUNDS = "lo = 0.0, hi = 6.0"
CLIP = "float low = {0.0}, float high = {6.0}"

CHANGES = {
    "a bias and a Clip": (
        f"""{X} <{WEIGHTS}, {CLIP}>
        {{ {QUANTIZE}  c = Cast <to = 1> (m)  p = Mul(s, s_w)  t = Mul(c, p)
           a = Add(t, b)  y = Clip(a, low, high) }}""",
        f"""{X} <{WEIGHTS}>
        {{ q, s, z = DynamicQuantizeLinear(x)
           y = qcompile.QDynamicMatMul <{BOUNDS}> (q, s, z, w, s_w, b) }}""",
    ),
    "every operand on the other side, no bias, one scale": (
        f"""{X} <{WEIGHTS}, float one = {{0.5}}, {CLIP}>
        {{ {QUANTIZE}  c = Cast <to = 1> (m)  p = Mul(one, s)  t = Mul(p, c)
           y = Clip(t, low, high) }}""",
        f"""{X} <int8[2,2] w = {{1, -2, 3, 4}}, float[2] s_w = {{0.5, 0.5}},
            float[2] b = {{0.0, 0.0}}>
        {{ q, s, z = DynamicQuantizeLinear(x)
           y = qcompile.QDynamicMatMul <{BOUNDS}> (q, s, z, w, s_w, b) }}""",
    ),
    "uint8 weights and their zero points": (
        f"""{X} <uint8[2,2] w = {{129, 3, 131, 9}}, uint8[2] z_w = {{128, 5}}, {CLIP},
            float[2] s_w = {{0.5, 0.25}}, float[2] b = {{1.0, 2.0}}>
        {{ q, s, z = DynamicQuantizeLinear(x)  m = MatMulInteger(q, w, z, z_w)
           c = Cast <to = 1> (m)  p = Mul(s, s_w)  t = Mul(c, p)  a = Add(b, t)
           y = Clip(a, low, high) }}""",
        f"""{X} <{WEIGHTS}>
        {{ q, s, z = DynamicQuantizeLinear(x)
           y = qcompile.QDynamicMatMul <{BOUNDS}> (q, s, z, w, s_w, b) }}""",
    ),
    "integers that come from outside": (
        """g (int8[3,2] x, float s) => (float[3,2] y)
        <int8[2,2] w = {1, -2, 3, 4}, float[2] s_w = {0.5, 0.25}, float low = {0.0},
         float high = {6.0}>
        { m = MatMulInteger(x, w)  c = Cast <to = 1> (m)  p = Mul(s, s_w)  t = Mul(c, p)
          y = Clip(t, low, high) }""",
        f"""g (int8[3,2] x, float s) => (float[3,2] y)
        <int8[2,2] w = {{1, -2, 3, 4}}, float[2] s_w = {{0.5, 0.25}}, int8 z = {{0}},
         float[2] b = {{0.0, 0.0}}>
        {{ y = qcompile.QDynamicMatMul <{BOUNDS}> (x, s, z, w, s_w, b) }}""",
    ),
    "two activations": (
        """g (float[2,3,2] x, float[2,4] v) => (float[2,3,4] y)
        { q, s, z = DynamicQuantizeLinear(x)  r, t, u = DynamicQuantizeLinear(v)
          m = MatMulInteger(q, r, z, u)  c = Cast <to = 1> (m)  p = Mul(s, t)
          y = Mul(c, p) }""",
        """g (float[2,3,2] x, float[2,4] v) => (float[2,3,4] y)
        { q, s, z = DynamicQuantizeLinear(x)  r, t, u = DynamicQuantizeLinear(v)
          y = qcompile.QDynamicBatchMatMul(q, s, z, r, t, u) }""",
    ),
    "a bias of more than a row is added behind": (
        f"""{X} <{WEIGHTS}, float[3,1] column = {{1.0, 2.0, 3.0}}, {CLIP}>
        {{ {QUANTIZE}  c = Cast <to = 1> (m)  p = Mul(s, s_w)  t = Mul(c, p)
           k = Clip(t, low, high)  y = Add(k, column) }}""",
        f"""{X} <int8[2,2] w = {{1, -2, 3, 4}}, float[2] s_w = {{0.5, 0.25}},
            float[2] b = {{0.0, 0.0}}, float[3,1] column = {{1.0, 2.0, 3.0}}>
        {{ q, s, z = DynamicQuantizeLinear(x)
           k = qcompile.QDynamicMatMul <{BOUNDS}> (q, s, z, w, s_w, b)
           y = Add(k, column) }}""",
    ),
}

TAIL = "c = Cast <to = 1> (m)  p = Mul(s, s_w)  y = Mul(c, p)"
KEPT = {
    "sums that are read themselves": f"""
        g (float[3,2] x) => (float[3,2] y, int32[3,2] m) <{WEIGHTS}>
        {{ {QUANTIZE}  {TAIL} }}""",
    "sums as another type": f"""
        g (float[3,2] x) => (double[3,2] y) <{WEIGHTS}>
        {{ {QUANTIZE}  y = Cast <to = 11> (m) }}""",
    "a scale a row": """
        g (uint8[3,2] q, float[3,1] s) => (float[3,2] y)
        <int8[2,2] w = {1, -2, 3, 4}, float[2] s_w = {0.5, 0.25}>
        { m = MatMulInteger(q, w)  c = Cast <to = 1> (m)  p = Mul(s, s_w)  y = Mul(c, p) }""",
    "weights beyond int8": f"""
        {X} <uint8[2,2] w = {{129, 255, 131, 132}}, uint8 z_w = {{3}}, float s_w = {{0.5}}>
        {{ q, s, z = DynamicQuantizeLinear(x)  m = MatMulInteger(q, w, z, z_w)  {TAIL} }}""",
    "a scale that is computed": f"""
        g (float[3,2] x, float[2] s_w) => (float[3,2] y) <int8[2,2] w = {{1, -2, 3, 4}}>
        {{ {QUANTIZE}  {TAIL} }}""",
    "inside a branch": f"""
        g (bool c0, float[3,2] x) => (float[3,2] y) <{WEIGHTS}>
        {{ y = If (c0) <
             then_branch = t () => (float[3,2] e)
               {{ {QUANTIZE}  c = Cast <to = 1> (m)  p = Mul(s, s_w)  e = Mul(c, p) }},
             else_branch = f () => (float[3,2] e2) {{ e2 = Relu(x) }}> }}""",
}


def typed(text: str) -> ir.Model:
    """Return the graph with every shape and type inferred."""
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(graph(text))))


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_folds(before: str, after: str) -> None:
    result = FoldDynamic()(typed(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not FoldDynamic()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FoldDynamic()(typed(before))
    assert not result.modified
    assert_graph(result.model, before)


def test_shapes_that_are_unknown_stay() -> None:
    assert not FoldDynamic()(graph(CHANGES["a bias and a Clip"][0])).modified


def test_sums_beyond_int32_stay() -> None:
    text = """
        g (float[3,34000] x, float[34000,4] v) => (float[3,4] y)
        { q, s, z = DynamicQuantizeLinear(x)  r, t, u = DynamicQuantizeLinear(v)
          m = MatMulInteger(q, r, z, u)  c = Cast <to = 1> (m)  p = Mul(s, t)
          y = Mul(c, p) }"""
    assert not FoldDynamic()(typed(text)).modified
    assert FoldDynamic()(typed(text.replace("34000", "33000"))).modified
