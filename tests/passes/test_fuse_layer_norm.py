"""FuseLayerNorm: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.fuse_layer_norm import FuseLayerNorm
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

HEAD = "g (float[2,4] x) => (float[2,4] y)"
LAST = "<int64[1] last = {-1}, float two = {2.0}, float e = {0.00001}>"
MEAN = "ReduceMean <keepdims = 1>"
START = f"m = {MEAN} (x, last)  d = Sub (x, m)"
NORM = f"""{HEAD} <float[4] g0 = {{1.0, 1.0, 1.0, 1.0}}>
  {{ y = LayerNormalization <axis = -1, epsilon = 0.00001> (x, g0) }}"""

CHANGES = {
    "Pow, Sqrt, Div": (
        f"""{HEAD} {LAST} {{ {START}  p = Pow (d, two)  v = {MEAN} (p, last)
          a = Add (v, e)  s = Sqrt (a)  y = Div (d, s) }}""",
        NORM,
    ),
    "Mul, Reciprocal, Mul": (
        f"""{HEAD} {LAST} {{ {START}  p = Mul (d, d)  v = {MEAN} (p, last)
          a = Add (e, v)  s = Sqrt (a)  r = Reciprocal (s)  y = Mul (r, d) }}""",
        NORM,
    ),
    "computed twice": (
        f"""{HEAD} {LAST} {{ {START}  n = {MEAN} (x, last)  f = Sub (x, n)
          p = Pow (f, two)  v = {MEAN} (p, last)  a = Add (v, e)  s = Sqrt (a)
          y = Div (d, s) }}""",
        NORM,
    ),
    "a power of one half": (
        f"""{HEAD} <int64[1] last = {{1}}, float e = {{0.00001}}, float h = {{-0.5}}>
        {{ {START}  p = Mul (d, d)  v = {MEAN} (p, last)  a = Add (v, e)  s = Pow (a, h)
          y = Mul (d, s) }}""",
        NORM,
    ),
    "two axes": (
        f"""g (float[2,2,2] x) => (float[2,2,2] y) <int64[2] last = {{1, 2}},
          float two = {{2.0}}, float e = {{0.00001}}>
        {{ {START}  p = Pow (d, two)  v = {MEAN} (p, last)
          a = Add (v, e)  s = Sqrt (a)  y = Div (d, s) }}""",
        """g (float[2,2,2] x) => (float[2,2,2] y) <float[2,2] g0 = {1.0, 1.0, 1.0, 1.0}>
        { y = LayerNormalization <axis = -2, epsilon = 0.00001> (x, g0) }""",
    ),
    "inside a branch": (
        f"""g (bool k, float[2,4] x) => (float[2,4] y) {LAST}
        {{ y = If (k) <
            then_branch: graph = t () => (float[2,4] q)
              {{ {START}  p = Pow (d, two)  v = {MEAN} (p, last)  a = Add (v, e)
                s = Sqrt (a)  q = Div (d, s) }},
            else_branch: graph = f () => (float[2,4] n) {{ n = Neg (x) }}> }}""",
        """g (bool k, float[2,4] x) => (float[2,4] y)
        { y = If (k) <
            then_branch: graph = t () => (float[2,4] q)
              <float[4] g0 = {1.0, 1.0, 1.0, 1.0}>
              { q = LayerNormalization <axis = -1, epsilon = 0.00001> (x, g0) },
            else_branch: graph = f () => (float[2,4] n) { n = Neg (x) }> }""",
    ),
}

KEPT = {
    "no epsilon": f"""{HEAD} {LAST} {{ {START}  p = Pow (d, two)  v = {MEAN} (p, last)
        s = Sqrt (v)  y = Div (d, s) }}""",
    "the deviation is a graph output": f"""g (float[2,4] x) => (float[2,4] y, float[2,4] d)
        {LAST} {{ {START}  p = Pow (d, two)  v = {MEAN} (p, last)  a = Add (v, e)
          s = Sqrt (a)  y = Div (d, s) }}""",
    "the root has a second reader": f"""g (float[2,4] x) => (float[2,4] y, float[2,1] z)
        {LAST} {{ {START}  p = Pow (d, two)  v = {MEAN} (p, last)  a = Add (v, e)
          s = Sqrt (a)  y = Div (d, s)  z = Neg (s) }}""",
    "another axis": f"""{HEAD} <int64[1] last = {{0}}, float two = {{2.0}},
        float e = {{0.00001}}> {{ {START}  p = Pow (d, two)  v = {MEAN} (p, last)
          a = Add (v, e)  s = Sqrt (a)  y = Div (d, s) }}""",
    "the square of something else": f"""{HEAD} {LAST} {{ {START}  p = Pow (x, two)
        v = {MEAN} (p, last)  a = Add (v, e)  s = Sqrt (a)  y = Div (d, s) }}""",
    "the epsilon is also an input": f"""g (float[2,4] x, float e) => (float[2,4] y) {LAST}
        {{ {START}  p = Pow (d, two)  v = {MEAN} (p, last)  a = Add (v, e)  s = Sqrt (a)
          y = Div (d, s) }}""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_fuses(before: str, after: str) -> None:
    result = FuseLayerNorm()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not FuseLayerNorm()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FuseLayerNorm()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in list(CHANGES.values())[:-1]])
def test_same_answers(before: str) -> None:
    """Two means of four terms, a square, a root and a division, each way: under 32."""
    assert_same_answers(inferred(before), FuseLayerNorm(), roundings=32)
