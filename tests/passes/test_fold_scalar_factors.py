"""FoldScalarFactors: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.graphs.index_moves import moved
from qcompile.passes.fold_scalar_factors import FoldScalarFactors
from tests.answers import assert_same_answers, inferred, run
from tests.graphs import assert_graph

SQUARE = "float[2,2] w = {1.0, 2.0, 3.0, 4.0}, float[2,2] w2 = {5.0, 6.0, 7.0, 8.0}"
HEADS = "int64[4] h = {1, 3, 2, 1}"
THREE = "float[2,6] w = {1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.}"
PARTS = """int64[4] h = {1, 3, 3, 2}, int64[1] zero = {0}, int64[1] one = {1},
  int64[1] two = {2}, int64[1] axis = {2}, int64[3] flat = {1, 3, 2}, float c = {0.5}"""

CHANGES = {
    "through moves into the product before": (
        f"""g (float[1,3,2] x) => (float[1,2,3,1] y) <{SQUARE}, {HEADS}, float c = {{2.0}}>
        {{ a = MatMul (x, w)  r = Reshape (a, h)  t = Transpose <perm = [0, 2, 1, 3]> (r)
          m = Mul (t, c)  y = Neg (m) }}""",
        f"""g (float[1,3,2] x) => (float[1,2,3,1] y)
        <float[2,2] w = {{2.0, 4.0, 6.0, 8.0}}, {HEADS}>
        {{ a = MatMul (x, w)  r = Reshape (a, h)  t = Transpose <perm = [0, 2, 1, 3]> (r)
          y = Neg (t) }}""",
    ),
    "scores of an attention": (
        f"""g (float[1,3,2] x) => (float[1,3,3] y) <{SQUARE}, float c = {{2.0}}>
        {{ q = MatMul (x, w)  k = MatMul (x, w2)  t = Transpose <perm = [0, 2, 1]> (k)
          s = MatMul (q, t)  d = Div (s, c)  y = Softmax (d) }}""",
        """g (float[1,3,2] x) => (float[1,3,3] y) <float[2,2] w = {0.5, 1.0, 1.5, 2.0},
          float[2,2] w2 = {5.0, 6.0, 7.0, 8.0}>
        { q = MatMul (x, w)  k = MatMul (x, w2)  t = Transpose <perm = [0, 2, 1]> (k)
          s = MatMul (q, t)  y = Softmax (s) }""",
    ),
    "the queries of a joint projection": (
        f"""g (float[1,3,2] x) => (float[1,3,2] y, float[1,3,1,2] z) <{THREE}, {PARTS}>
        {{ a = MatMul (x, w)  r = Reshape (a, h)
          q = Slice (r, zero, one, axis)  k = Slice (r, one, two, axis)
          f = Reshape (q, flat)  m = Mul (f, c)  y = Neg (m)  z = Neg (k) }}""",
        f"""g (float[1,3,2] x) => (float[1,3,2] y, float[1,3,1,2] z)
        <float[2,6] w = {{0.5, 1., 3., 4., 5., 6., 3.5, 4., 9., 10., 11., 12.}}, {PARTS}>
        {{ a = MatMul (x, w)  r = Reshape (a, h)
          q = Slice (r, zero, one, axis)  k = Slice (r, one, two, axis)
          f = Reshape (q, flat)  y = Neg (f)  z = Neg (k) }}""",
    ),
    "into the convolution after": (
        """g (float[1,1,2,2] x) => (float[1,1,4,4] y) <float[1,1,1,1] w = {3.0},
          float[1] b = {1.0}, float[1] c = {2.0}>
        { e = Exp (x)  m = Mul (e, c)  y = Conv <pads = [1, 1, 1, 1]> (m, w, b) }""",
        """g (float[1,1,2,2] x) => (float[1,1,4,4] y) <float[1,1,1,1] w = {6.0},
          float[1] b = {1.0}>
        { e = Exp (x)  y = Conv <pads = [1, 1, 1, 1]> (e, w, b) }""",
    ),
    "a factor of one": (
        "g (float[2] x) => (float[2] y) <float[1] c = {1.0}> { m = Mul (c, x)  y = Neg (m) }",
        "g (float[2] x) => (float[2] y) { y = Neg (x) }",
    ),
    "a division that stays": (
        "g (float[2] x) => (float[2] y) <float c = {4.0}> { y = Div (x, c) }",
        "g (float[2] x) => (float[2] y) <float c = {0.25}> { y = Mul (x, c) }",
    ),
    "inside a branch": (
        f"""g (bool k, float[3,2] x) => (float[3,2] y) <{SQUARE}, float c = {{2.0}}>
        {{ y = If (k) <
            then_branch: graph = t () => (float[3,2] p)
              {{ a = MatMul (x, w)  m = Mul (a, c)  p = Neg (m) }},
            else_branch: graph = e () => (float[3,2] q) {{ q = Neg (x) }}> }}""",
        """g (bool k, float[3,2] x) => (float[3,2] y)
        { y = If (k) <
            then_branch: graph = t () => (float[3,2] p)
              <float[2,2] v = {2.0, 4.0, 6.0, 8.0}> { a = MatMul (x, v)  p = Neg (a) },
            else_branch: graph = e () => (float[3,2] q) { q = Neg (x) }> }""",
    ),
}

KEPT = {
    "nothing to fold into": """g (float[2] x) => (float[2] y) <float c = {4.0}>
        { y = Mul (x, c) }""",
    "columns that something else reads": f"""g (float[1,3,2] x) =>
        (float[1,3,2] y, float[1,3,6] z) <{THREE}, {PARTS}>
        {{ a = MatMul (x, w)  r = Reshape (a, h)  q = Slice (r, zero, one, axis)
          f = Reshape (q, flat)  m = Mul (f, c)  y = Neg (m)  z = Neg (a) }}""",
    "a second reader of the product": f"""g (float[3,2] x) => (float[3,2] y, float[3,2] z)
        <{SQUARE}, float c = {{2.0}}>
        {{ a = MatMul (x, w)  m = Mul (a, c)  y = Neg (m)  z = Neg (a) }}""",
    "the product is a graph output": f"""g (float[3,2] x) => (float[3,2] y, float[3,2] a)
        <{SQUARE}, float c = {{2.0}}> {{ a = MatMul (x, w)  m = Mul (a, c)  y = Neg (m) }}""",
    "a factor that is also an input": f"""g (float[3,2] x, float c) => (float[3,2] y)
        <{SQUARE}, float c = {{2.0}}> {{ a = MatMul (x, w)  m = Mul (a, c)  y = Neg (m) }}""",
    "the product stands outside": f"""g (bool k, float[3,2] x) => (float[3,2] y)
        <{SQUARE}, float c = {{2.0}}>
        {{ a = MatMul (x, w)
          y = If (k) <
            then_branch: graph = t () => (float[3,2] p) {{ m = Mul (a, c)  p = Neg (m) }},
            else_branch: graph = e () => (float[3,2] q) {{ q = Neg (x) }}> }}""",
    "over zero": """g (float[2] x) => (float[2] y) <float c = {0.0}> { y = Div (x, c) }""",
    "a quantized weight": """g (float[3,2] x) => (float[3,2] y) <int8[2,2] q = {1, 2, 3, 4},
        float s = {0.5}, float c = {2.0}>
        { w = DequantizeLinear (q, s)  a = MatMul (x, w)  m = Mul (a, c)  y = Neg (m) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_folds(before: str, after: str) -> None:
    result = FoldScalarFactors()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not FoldScalarFactors()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FoldScalarFactors()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in list(CHANGES.values())[:-1]])
def test_same_answers(before: str) -> None:
    """Factors that are powers of two: only their place differs, and nothing is rounded."""
    assert_same_answers(inferred(before), FoldScalarFactors(), roundings=0)


@given(st.lists(st.integers(-6, 6), min_size=2, max_size=2), st.sampled_from([1, 2, -1, -3]))
def test_slices_as_onnxruntime_does(ends: list[int], step: int) -> None:
    start, end = ends
    model = inferred(
        f"""g (int64[5,2] x) => (int64[n,2] y) <int64[1] s = {{{start}}},
        int64[1] e = {{{end}}}, int64[1] a = {{0}}, int64[1] t = {{{step}}}>
        {{ y = Slice (x, s, e, a, t) }}"""
    )
    x = np.arange(10).reshape(5, 2)
    (node,) = model.graph
    (expected,) = run(ir.to_proto(model), {"x": x})
    np.testing.assert_array_equal(moved(x, node), expected)
