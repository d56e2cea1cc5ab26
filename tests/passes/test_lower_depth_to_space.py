"""LowerDepthToSpace: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.lower_depth_to_space import LowerDepthToSpace
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

CHANGES = {
    "depth, column, row": (
        """g (float[1,4,2,3] x) => (float[1,1,4,6] y)
        { y = DepthToSpace <blocksize = 2> (x) }""",
        """g (float[1,4,2,3] x) => (float[1,1,4,6] y)
        <int64[6] p = {1, 2, 2, 1, 2, 3}, int64[4] q = {1, 1, 4, 6}>
        { s = Reshape (x, p)  t = Transpose <perm = [0, 3, 4, 1, 5, 2]> (s)
          y = Reshape (t, q) }""",
    ),
    "column, row, depth": (
        """g (float[1,8,2,3] x) => (float[1,2,4,6] y)
        { y = DepthToSpace <blocksize = 2, mode = "CRD"> (x) }""",
        """g (float[1,8,2,3] x) => (float[1,2,4,6] y)
        <int64[6] p = {1, 2, 2, 2, 2, 3}, int64[4] q = {1, 2, 4, 6}>
        { s = Reshape (x, p)  t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (s)
          y = Reshape (t, q) }""",
    ),
    "space to depth": (
        """g (float[1,2,4,6] x) => (float[1,8,2,3] y)
        { y = SpaceToDepth <blocksize = 2> (x) }""",
        """g (float[1,2,4,6] x) => (float[1,8,2,3] y)
        <int64[6] p = {1, 2, 2, 2, 3, 2}, int64[4] q = {1, 8, 2, 3}>
        { s = Reshape (x, p)  t = Transpose <perm = [0, 3, 5, 1, 2, 4]> (s)
          y = Reshape (t, q) }""",
    ),
}

KEPT = {
    "an open size": """g (float[1,4,h,3] x) => (float[1,1,k,6] y)
        { y = DepthToSpace <blocksize = 2> (x) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes(before: str, after: str) -> None:
    result = LowerDepthToSpace()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not LowerDepthToSpace()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = LowerDepthToSpace()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """Moves only: the same to the bit."""
    assert_same_answers(inferred(before), LowerDepthToSpace(), roundings=0)
