"""FuseHardSwish: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.fuse_hard_swish import FuseHardSwish
from tests.answers import assert_same_answers
from tests.graphs import assert_graph, graph

HEAD = "g (float[4] x) => (float[4] y)"
THREE_SIX = "<float three = {3.0}, float zero = {0.0}, float six = {6.0}>"
SIXTH = """<float sixth = {0.16666667}, float half = {0.5}, float zero = {0.0},
  float one = {1.0}>"""
SWISH = f"{HEAD} {{ y = HardSwish (x) }}"
SIGMOID = f"{HEAD} {{ y = HardSigmoid <alpha = 0.16666666666666666, beta = 0.5> (x) }}"

CHANGES = {
    "x * Clip(x + 3, 0, 6) / 6": (
        f"""{HEAD} {THREE_SIX}
        {{ a = Add (x, three)  c = Clip (a, zero, six)  m = Mul (x, c)  y = Div (m, six) }}""",
        SWISH,
    ),
    "x * (Clip(3 + x, 0, 6) / 6)": (
        f"""{HEAD} {THREE_SIX}
        {{ a = Add (three, x)  c = Clip (a, zero, six)  d = Div (c, six)  y = Mul (d, x) }}""",
        SWISH,
    ),
    "x / 6 * Clip(x + 3, 0, 6)": (
        f"""{HEAD} {THREE_SIX}
        {{ a = Add (x, three)  c = Clip (a, zero, six)  d = Div (x, six)  y = Mul (d, c) }}""",
        SWISH,
    ),
    "x * Clip(x / 6 + 1/2, 0, 1)": (
        f"""{HEAD} {SIXTH}
        {{ m = Mul (x, sixth)  a = Add (m, half)  c = Clip (a, zero, one)
          y = Mul (x, c) }}""",
        SWISH,
    ),
    "x * HardSigmoid(x)": (
        f"""{HEAD} {{ h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)
          y = Mul (h, x) }}""",
        SWISH,
    ),
    "a gate alone: Clip(x + 3, 0, 6) / 6": (
        f"""{HEAD} {THREE_SIX}
        {{ a = Add (x, three)  c = Clip (a, zero, six)  y = Div (c, six) }}""",
        SIGMOID,
    ),
    "a gate alone: Clip(x / 6 + 1/2, 0, 1)": (
        f"""{HEAD} <float half = {{0.5}}, float zero = {{0.0}}, float one = {{1.0}},
          float six = {{6.0}}>
        {{ m = Div (x, six)  a = Add (m, half)  y = Clip (a, zero, one) }}""",
        SIGMOID,
    ),
    "a gate of another signal": (
        f"""g (float[4] x, float[4] z) => (float[4] y) {THREE_SIX}
        {{ a = Add (x, three)  c = Clip (a, zero, six)  d = Div (c, six)  y = Mul (d, z) }}""",
        """g (float[4] x, float[4] z) => (float[4] y)
        { d = HardSigmoid <alpha = 0.16666666666666666, beta = 0.5> (x)  y = Mul (d, z) }""",
    ),
    "a second reader of x": (
        f"""g (float[4] v) => (float[4] y, float[4] z) {THREE_SIX}
        {{ x = Exp (v)  a = Add (x, three)  c = Clip (a, zero, six)  m = Mul (x, c)
          y = Div (m, six)  z = Neg (x) }}""",
        """g (float[4] v) => (float[4] y, float[4] z)
        { x = Exp (v)  y = HardSwish (x)  z = Neg (x) }""",
    ),
    "inside a branch": (
        f"""g (bool k, float[4] x) => (float[4] y) {THREE_SIX}
        {{ y = If (k) <
            then_branch: graph = t () => (float[4] p)
              {{ a = Add (x, three)  c = Clip (a, zero, six)  m = Mul (x, c)
                p = Div (m, six) }},
            else_branch: graph = e () => (float[4] q) {{ q = Neg (x) }}> }}""",
        """g (bool k, float[4] x) => (float[4] y)
        { y = If (k) <
            then_branch: graph = t () => (float[4] p) { p = HardSwish (x) },
            else_branch: graph = e () => (float[4] q) { q = Neg (x) }> }""",
    ),
}

KEPT = {
    "another slope": f"""{HEAD} <float zero = {{0.0}}, float six = {{6.0}}>
        {{ c = Clip (x, zero, six)  m = Mul (x, c)  y = Div (m, six) }}""",
    "the Clip is a graph output": f"""g (float[4] x) => (float[4] y, float[4] c) {THREE_SIX}
        {{ a = Add (x, three)  c = Clip (a, zero, six)  m = Mul (x, c)  y = Div (m, six) }}""",
    "the sum has a second reader": f"""g (float[4] x) => (float[4] y, float[4] z) {THREE_SIX}
        {{ a = Add (x, three)  c = Clip (a, zero, six)  m = Mul (x, c)  y = Div (m, six)
          z = Neg (a) }}""",
    "a bound is also an input": f"""g (float[4] x, float six) => (float[4] y) {THREE_SIX}
        {{ a = Add (x, three)  c = Clip (a, zero, six)  m = Mul (x, c)  y = Div (m, six) }}""",
    "a Clip from 0 to 1": f"{HEAD} {SIXTH} {{ y = Clip (x, zero, one) }}",
    "six over the product": f"""{HEAD} {THREE_SIX}
        {{ c = Clip (x, zero, six)  m = Mul (x, c)  y = Div (six, m) }}""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_fuses(before: str, after: str) -> None:
    result = FuseHardSwish()(graph(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not FuseHardSwish()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FuseHardSwish()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in list(CHANGES.values())[:-1]])
def test_same_answers(before: str) -> None:
    """Four roundings each way, and the constants' own: at most twelve."""
    assert_same_answers(graph(before), FuseHardSwish(), roundings=12)
