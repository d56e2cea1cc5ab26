"""FoldChannelAffine: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.fold_channel_affine import FoldChannelAffine
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

IMAGE = "g (float[1,1,2,2] x) => (float[1,2,2,2] y)"
CONV = "float[2,1,1,1] w = {1.0, 2.0}"
ROW = "g (float[3,2] x) => (float[3,2] y)"
ROWS = "g (float[1,3,2] x) => (float[1,3,2] y)"
MATRIX = "float[2,2] w = {1.0, 2.0, 3.0, 4.0}"

CHANGES = {
    "Conv, a factor and a summand": (
        f"""{IMAGE} <{CONV}, float[1] c = {{3.0}}, float[1] d = {{0.5}}>
        {{ a = Conv (x, w)  m = Mul (c, a)  y = Add (m, d) }}""",
        f"""{IMAGE} <float[2,1,1,1] w = {{3.0, 6.0}}, float[2] b = {{0.5, 0.5}}>
        {{ y = Conv (x, w, b) }}""",
    ),
    "Conv with a bias, one factor a channel": (
        f"""{IMAGE} <{CONV}, float[2] b = {{1.0, 2.0}}, float[1,2,1,1] c = {{3.0, 4.0}}>
        {{ a = Conv (x, w, b)  y = Mul (a, c) }}""",
        f"""{IMAGE} <float[2,1,1,1] w = {{3.0, 8.0}}, float[2] b = {{3.0, 8.0}}>
        {{ y = Conv (x, w, b) }}""",
    ),
    "Conv, Div and Sub": (
        f"""{IMAGE} <{CONV}, float c = {{2.0}}, float[2,1,1] d = {{1.0, 2.0}}>
        {{ a = Conv (x, w)  m = Div (a, c)  y = Sub (m, d) }}""",
        f"""{IMAGE} <float[2,1,1,1] w = {{0.5, 1.0}}, float[2] b = {{-1.0, -2.0}}>
        {{ y = Conv (x, w, b) }}""",
    ),
    "ConvTranspose": (
        """g (float[1,1,2,2] x) => (float[1,2,2,2] y)
        <float[1,2,1,1] w = {1.0, 2.0}, float[2,1,1] c = {3.0, 4.0}>
        { a = ConvTranspose (x, w)  y = Mul (a, c) }""",
        """g (float[1,1,2,2] x) => (float[1,2,2,2] y) <float[1,2,1,1] w = {3.0, 8.0}>
        { y = ConvTranspose (x, w) }""",
    ),
    "Gemm": (
        f"""{ROW} <{MATRIX}, float[2] b = {{1.0, 2.0}}, float[2] c = {{2.0, 3.0}}>
        {{ a = Gemm <transB = 1> (x, w, b)  y = Mul (a, c) }}""",
        f"""{ROW} <float[2,2] w = {{2.0, 4.0, 9.0, 12.0}}, float[2] b = {{2.0, 6.0}}>
        {{ y = Gemm <transB = 1> (x, w, b) }}""",
    ),
    "MatMul of rank 2": (
        f"""{ROW} <{MATRIX}, float[2] c = {{2.0, 3.0}}>
        {{ a = MatMul (x, w)  y = Add (a, c) }}""",
        f"""{ROW} <{MATRIX}, float[2] c = {{2.0, 3.0}}> {{ y = Gemm (x, w, c) }}""",
    ),
    "MatMul of rank 3 and its bias": (
        f"""{ROWS} <{MATRIX}, float[2] b = {{1.0, 2.0}}, float c = {{2.0}}>
        {{ a = MatMul (x, w)  s = Add (b, a)  y = Mul (s, c) }}""",
        f"""{ROWS} <float[2,2] w = {{2.0, 4.0, 6.0, 8.0}}, float[2] b = {{2.0, 4.0}}>
        {{ a = MatMul (x, w)  y = Add (b, a) }}""",
    ),
    "LayerNormalization": (
        f"""{ROWS} <float[2] g0 = {{1.0, 1.0}}, float[2] g1 = {{3.0, 4.0}},
          float[2] d = {{5.0, 6.0}}>
        {{ a = LayerNormalization (x, g0)  m = Mul (a, g1)  y = Add (m, d) }}""",
        f"""{ROWS} <float[2] g1 = {{3.0, 4.0}}, float[2] d = {{5.0, 6.0}}>
        {{ y = LayerNormalization (x, g1, d) }}""",
    ),
    "a weight with a second reader": (
        f"""g (float[1,1,2,2] x) => (float[1,2,2,2] y, float[1,2,2,2] z) <{CONV},
          float c = {{3.0}}>
        {{ a = Conv (x, w)  y = Mul (a, c)  z = Conv (x, w) }}""",
        f"""g (float[1,1,2,2] x) => (float[1,2,2,2] y, float[1,2,2,2] z) <{CONV},
          float[2,1,1,1] v = {{3.0, 6.0}}>
        {{ y = Conv (x, v)  z = Conv (x, w) }}""",
    ),
    "inside a branch": (
        f"""g (bool k, float[1,1,2,2] x) => (float[1,2,2,2] y) <{CONV}, float c = {{3.0}}>
        {{ y = If (k) <
            then_branch: graph = t () => (float[1,2,2,2] p)
              {{ a = Conv (x, w)  p = Mul (a, c) }},
            else_branch: graph = e () => (float[1,2,2,2] q) {{ q = Conv (x, w) }}> }}""",
        f"""g (bool k, float[1,1,2,2] x) => (float[1,2,2,2] y) <{CONV}>
        {{ y = If (k) <
            then_branch: graph = t () => (float[1,2,2,2] p)
              <float[2,1,1,1] v = {{3.0, 6.0}}> {{ p = Conv (x, v) }},
            else_branch: graph = e () => (float[1,2,2,2] q) {{ q = Conv (x, w) }}> }}""",
    ),
}

KEPT = {
    "along another axis": f"""{IMAGE} <{CONV}, float[2] c = {{3.0, 4.0}}>
        {{ a = Conv (x, w)  y = Mul (a, c) }}""",
    "a second reader": f"""g (float[1,1,2,2] x) => (float[1,2,2,2] y, float[1,2,2,2] z)
        <{CONV}, float c = {{3.0}}> {{ a = Conv (x, w)  y = Mul (a, c)  z = Neg (a) }}""",
    "a graph output": f"""g (float[1,1,2,2] x) => (float[1,2,2,2] y, float[1,2,2,2] a)
        <{CONV}, float c = {{3.0}}> {{ a = Conv (x, w)  y = Mul (a, c) }}""",
    "a factor that is also an input": f"""g (float[1,1,2,2] x, float c) =>
        (float[1,2,2,2] y) <{CONV}, float c = {{3.0}}>
        {{ a = Conv (x, w)  y = Mul (a, c) }}""",
    "a quantized weight": f"""{IMAGE} <int8[2,1,1,1] q = {{1, 2}}, float s = {{0.5}},
        float c = {{3.0}}>
        {{ w = DequantizeLinear (q, s)  a = Conv (x, w)  y = Mul (a, c) }}""",
    "a constant over the value": f"""{IMAGE} <{CONV}, float c = {{3.0}}>
        {{ a = Conv (x, w)  y = Div (c, a) }}""",
    "over nothing": f"""{IMAGE} <{CONV}, float c = {{0.0}}>
        {{ a = Conv (x, w)  y = Div (a, c) }}""",
    "beyond float32": f"""{IMAGE} <float[2,1,1,1] w = {{1e38, 2.0}}, float c = {{10.0}}>
        {{ a = Conv (x, w)  y = Mul (a, c) }}""",
    "the bias of a MatMul of rank 3": f"""{ROWS} <{MATRIX}, float[2] b = {{1.0, 2.0}}>
        {{ a = MatMul (x, w)  y = Add (a, b) }}""",
    "a constant that adds an axis": f"""g (float[3,2] x) => (float[1,3,2] y) <{MATRIX},
        float[1,1,1] c = {{2.0}}> {{ a = MatMul (x, w)  y = Mul (a, c) }}""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_folds(before: str, after: str) -> None:
    result = FoldChannelAffine()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not FoldChannelAffine()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FoldChannelAffine()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in list(CHANGES.values())[:-1]])
def test_same_answers(before: str) -> None:
    """At most four terms a sum, a factor and a summand, each rounded before and after."""
    assert_same_answers(inferred(before), FoldChannelAffine(), roundings=16)
