"""FoldScalingConv: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.fold_scaling_conv import FoldScalingConv
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

HEAD = "g (float[1,2,3,3] x) => (float[1,1,3,3] y)"
SCALE = "float[2,1,1,1] f = {2.0, 3.0}"
SHIFT = "float[2] s = {0.5, 1.0}"
POINT = "float[1,2,1,1] w = {4.0, 5.0}"

CHANGES = {
    "a factor and a shift": (
        f"""{HEAD} <{SCALE}, {SHIFT}, {POINT}, float[1] b = {{1.0}}>
        {{ a = Conv <group = 2> (x, f, s)  y = Conv (a, w, b) }}""",
        f"""{HEAD} <float[1,2,1,1] w = {{8.0, 15.0}}, float[1] b = {{8.0}}>
        {{ y = Conv (x, w, b) }}""",
    ),
    "a factor before a padded convolution": (
        f"""g (float[1,2,3,3] x) => (float[1,1,5,5] y) <{SCALE}, {POINT}>
        {{ a = Conv <group = 2> (x, f)  y = Conv <pads = [1, 1, 1, 1]> (a, w) }}""",
        """g (float[1,2,3,3] x) => (float[1,1,5,5] y) <float[1,2,1,1] w = {8.0, 15.0}>
        { y = Conv <pads = [1, 1, 1, 1]> (x, w) }""",
    ),
    "groups": (
        f"""g (float[1,2,3,3] x) => (float[1,4,3,3] y) <{SCALE}, {SHIFT},
          float[4,1,1,1] w = {{1.0, 2.0, 3.0, 4.0}}>
        {{ a = Conv <group = 2> (x, f, s)  y = Conv <group = 2> (a, w) }}""",
        """g (float[1,2,3,3] x) => (float[1,4,3,3] y)
        <float[4,1,1,1] w = {2.0, 4.0, 9.0, 12.0}, float[4] b = {0.5, 1.0, 3.0, 4.0}>
        { y = Conv <group = 2> (x, w, b) }""",
    ),
}

KEPT = {
    "a shift before a padded convolution": f"""g (float[1,2,3,3] x) => (float[1,1,5,5] y)
        <{SCALE}, {SHIFT}, {POINT}>
        {{ a = Conv <group = 2> (x, f, s)  y = Conv <pads = [1, 1, 1, 1]> (a, w) }}""",
    "a second reader": f"""g (float[1,2,3,3] x) => (float[1,1,3,3] y, float[1,2,3,3] z)
        <{SCALE}, {POINT}>
        {{ a = Conv <group = 2> (x, f)  y = Conv (a, w)  z = Neg (a) }}""",
    "a graph output": f"""g (float[1,2,3,3] x) => (float[1,1,3,3] y, float[1,2,3,3] a)
        <{SCALE}, {POINT}> {{ a = Conv <group = 2> (x, f)  y = Conv (a, w) }}""",
    "a convolution that mixes channels": f"""{HEAD} <float[2,2,1,1] f = {{1.0, 2.0, 3.0, 4.0}},
        {POINT}> {{ a = Conv (x, f)  y = Conv (a, w) }}""",
    "a weight that is also an input": f"""g (float[1,2,3,3] x, float[1,2,1,1] w) =>
        (float[1,1,3,3] y) <{SCALE}, {POINT}>
        {{ a = Conv <group = 2> (x, f)  y = Conv (a, w) }}""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_folds(before: str, after: str) -> None:
    result = FoldScalingConv()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not FoldScalingConv()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FoldScalingConv()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """Two terms, a factor and a shift each, rounded before and after: under sixteen."""
    assert_same_answers(inferred(before), FoldScalingConv(), roundings=16)
