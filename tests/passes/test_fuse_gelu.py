"""FuseGelu: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.fuse_gelu import FuseGelu
from tests.answers import assert_same_answers
from tests.graphs import assert_graph, graph

HEAD = "g (float[8] x) => (float[8] y)"
ERF = "<float root = {1.4142135}, float one = {1.0}, float half = {0.5}>"
TANH = """<float third = {3.0}, float two = {2.0}, float c = {0.044715}, float r = {0.7978845},
  float one = {1.0}, float half = {0.5}>"""
GELU = f"{HEAD} {{ y = Gelu (x) }}"
APPROXIMATE = f'{HEAD} {{ y = Gelu <approximate = "tanh"> (x) }}'

CHANGES = {
    "x * (1 + Erf(x / sqrt(2))) * 0.5": (
        f"""{HEAD} {ERF} {{ d = Div (x, root)  e = Erf (d)  a = Add (e, one)  m = Mul (x, a)
          y = Mul (m, half) }}""",
        GELU,
    ),
    "x * (0.5 * (1 + Erf(x / sqrt(2))))": (
        f"""{HEAD} {ERF} {{ d = Div (x, root)  e = Erf (d)  a = Add (one, e)  m = Mul (half, a)
          y = Mul (m, x) }}""",
        GELU,
    ),
    "0.5 * x * (1 + Erf(x * sqrt(1/2)))": (
        f"""{HEAD} <float root = {{0.70710677}}, float one = {{1.0}}, float half = {{0.5}}>
        {{ h = Mul (half, x)  d = Mul (root, x)  e = Erf (d)  a = Add (e, one)
          y = Mul (a, h) }}""",
        GELU,
    ),
    "x * (0.5 * Erf(x / sqrt(2)) + 0.5)": (
        f"""{HEAD} {ERF} {{ d = Div (x, root)  e = Erf (d)  m = Mul (e, half)
          a = Add (m, half)  y = Mul (x, a) }}""",
        GELU,
    ),
    "Tanh, with Pow": (
        f"""{HEAD} {TANH} {{ p = Pow (x, third)  q = Mul (c, p)  s = Add (x, q)
          z = Mul (r, s)  t = Tanh (z)  a = Add (t, one)  h = Mul (half, x)
          y = Mul (h, a) }}""",
        APPROXIMATE,
    ),
    "Tanh, with x * (1 + c * x * x)": (
        f"""{HEAD} {TANH} {{ p = Mul (x, x)  q = Mul (c, p)  s = Add (one, q)  w = Mul (x, s)
          z = Mul (w, r)  t = Tanh (z)  a = Add (one, t)  h = Mul (half, a)
          y = Mul (x, h) }}""",
        APPROXIMATE,
    ),
    "inside a branch": (
        f"""g (bool k, float[8] x) => (float[8] y) {ERF}
        {{ y = If (k) <
            then_branch: graph = t () => (float[8] p)
              {{ d = Div (x, root)  e = Erf (d)  a = Add (e, one)  m = Mul (x, a)
                p = Mul (m, half) }},
            else_branch: graph = f () => (float[8] q) {{ q = Neg (x) }}> }}""",
        """g (bool k, float[8] x) => (float[8] y)
        { y = If (k) <
            then_branch: graph = t () => (float[8] p) { p = Gelu (x) },
            else_branch: graph = f () => (float[8] q) { q = Neg (x) }> }""",
    ),
}

KEPT = {
    "another root": f"""{HEAD}
        <float root = {{1.5}}, float one = {{1.0}}, float half = {{0.5}}>
        {{ d = Div (x, root)  e = Erf (d)  a = Add (e, one)  m = Mul (x, a)
          y = Mul (m, half) }}""",
    "no half": f"""{HEAD} {ERF} {{ d = Div (x, root)  e = Erf (d)  a = Add (e, one)
          y = Mul (x, a) }}""",
    "the Erf is a graph output": f"""g (float[8] x) => (float[8] y, float[8] e) {ERF}
        {{ d = Div (x, root)  e = Erf (d)  a = Add (e, one)  m = Mul (x, a)
          y = Mul (m, half) }}""",
    "a second reader of the sum": f"""g (float[8] x) => (float[8] y, float[8] z) {ERF}
        {{ d = Div (x, root)  e = Erf (d)  a = Add (e, one)  m = Mul (x, a)
          y = Mul (m, half)  z = Neg (a) }}""",
    "the root is also an input": f"""g (float[8] x, float root) => (float[8] y) {ERF}
        {{ d = Div (x, root)  e = Erf (d)  a = Add (e, one)  m = Mul (x, a)
          y = Mul (m, half) }}""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_fuses(before: str, after: str) -> None:
    result = FuseGelu()(graph(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not FuseGelu()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FuseGelu()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in list(CHANGES.values())[:-1]])
def test_same_answers(before: str) -> None:
    """Eight steps with one rounding each before and after; Erf and Tanh to four."""
    assert_same_answers(graph(before), FuseGelu(), roundings=16)
