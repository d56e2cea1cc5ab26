"""SplitToSlices: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.split_to_slices import SplitToSlices
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

CHANGES = {
    "equal parts": (
        """g (float[2,4] x) => (float[2,2] a, float[2,2] b)
        { a, b = Split <axis = 1, num_outputs = 2> (x) }""",
        """g (float[2,4] x) => (float[2,2] a, float[2,2] b)
        <int64[1] n0 = {0}, int64[1] n2 = {2}, int64[1] n4 = {4}, int64[1] axis = {1}>
        { a = Slice (x, n0, n2, axis)  b = Slice (x, n2, n4, axis) }""",
    ),
    "given parts, one unread, the last axis": (
        """g (float[2,4] x) => (float[2,1] y) <int64[3] n = {1, 2, 1}>
        { a, b, c = Split <axis = -1> (x, n)  y = Add (a, c) }""",
        """g (float[2,4] x) => (float[2,1] y)
        <int64[1] n0 = {0}, int64[1] n1 = {1}, int64[1] n3 = {3}, int64[1] n4 = {4},
          int64[1] axis = {-1}>
        { a = Slice (x, n0, n1, axis)  c = Slice (x, n3, n4, axis)  y = Add (a, c) }""",
    ),
}

KEPT = {
    "parts of unknown size": """g (float[2,h] x) => (float[2,k] a, float[2,k] b)
        { a, b = Split <axis = 1, num_outputs = 2> (x) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes(before: str, after: str) -> None:
    result = SplitToSlices()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not SplitToSlices()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = SplitToSlices()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """Moves only: the same to the bit."""
    assert_same_answers(inferred(before), SplitToSlices(), roundings=0)
