"""LowerGemm: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.lower_gemm import LowerGemm
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

CHANGES = {
    "two activations": (
        """g (float[2,3] a, float[3,4] b) => (float[2,4] y) { y = Gemm (a, b) }""",
        """g (float[2,3] a, float[3,4] b) => (float[2,4] y) { y = MatMul (a, b) }""",
    ),
    "two activations, transposed, with factors": (
        """g (float[3,2] a, float[4,3] b, float[4] c) => (float[2,4] y)
        { y = Gemm <transA = 1, transB = 1, alpha = 2.0, beta = 0.5> (a, b, c) }""",
        """g (float[3,2] a, float[4,3] b, float[4] c) => (float[2,4] y)
        <float two = {2.0}, float half = {0.5}>
        { s = Transpose <perm = [1, 0]> (a)  t = Transpose <perm = [1, 0]> (b)
          m = MatMul (s, t)  n = Mul (m, two)  d = Mul (c, half)  y = Add (n, d) }""",
    ),
    "a constant matrix, the other transposed": (
        """g (float[2,3] a) => (float[3,1] y) <float[2,1] b = {1.0, 2.0}>
        { y = Gemm <transA = 1> (a, b) }""",
        """g (float[2,3] a) => (float[3,1] y) <float[2,1] b = {1.0, 2.0}>
        { s = Transpose <perm = [1, 0]> (a)  y = Gemm (s, b) }""",
    ),
    "a constant matrix and a computed summand": (
        """g (float[3,2] a, float[3,1] c) => (float[3,1] y) <float[2,1] b = {1.0, 2.0}>
        { y = Gemm <alpha = 2.0, beta = 0.5> (a, b, c) }""",
        """g (float[3,2] a, float[3,1] c) => (float[3,1] y) <float[2,1] b = {1.0, 2.0},
          float half = {0.5}>
        { m = Gemm <alpha = 2.0> (a, b)  d = Mul (c, half)  y = Add (m, d) }""",
    ),
}

KEPT = {
    "a plain one": """g (float[3,2] a) => (float[3,1] y)
        <float[2,1] b = {1.0, 2.0}, float[1] c = {3.0}>
        { y = Gemm <alpha = 2.0> (a, b, c) }""",
    "a quantized matrix": """g (float[3,2] a) => (float[3,1] y)
        <int8[2,1] q = {1, 2}, float s = {0.5}>
        { b = DequantizeLinear (q, s)  y = Gemm (a, b) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes(before: str, after: str) -> None:
    result = LowerGemm()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not LowerGemm()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = LowerGemm()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """Three terms, a factor and a summand in another order: at most eight roundings."""
    assert_same_answers(inferred(before), LowerGemm(), roundings=8)
