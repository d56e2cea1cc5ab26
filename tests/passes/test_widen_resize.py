"""WidenResize: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.widen_resize import WidenResize
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

CHANGES = {
    "sizes, out of order": (
        """g (float[1,2,3,4] x) => (float[1,2,6,9] y) <int64[2] s = {9, 6}>
        { y = Resize <axes = [3, 2]> (x, , , s) }""",
        """g (float[1,2,3,4] x) => (float[1,2,6,9] y) <int64[4] s = {1, 2, 6, 9}>
        { y = Resize (x, , , s) }""",
    ),
    "a scale, from the back": (
        """g (float[2,3,4] x) => (float[2,3,8] y) <float[1] s = {2.0}>
        { y = Resize <axes = [-1], mode = "linear"> (x, , s) }""",
        """g (float[2,3,4] x) => (float[2,3,8] y) <float[3] s = {1.0, 1.0, 2.0}>
        { y = Resize <mode = "linear"> (x, , s) }""",
    ),
    "a region": (
        """g (float[2,4,4] x) => (float[2,3,4] y)
        <int64[1] s = {3}, float[2] roi = {0.25, 0.75}>
        { y = Resize <axes = [1], coordinate_transformation_mode = "tf_crop_and_resize">
            (x, roi, , s) }""",
        """g (float[2,4,4] x) => (float[2,3,4] y)
        <int64[3] s = {2, 3, 4}, float[6] roi = {0.0, 0.25, 0.0, 1.0, 0.75, 1.0}>
        { y = Resize <coordinate_transformation_mode = "tf_crop_and_resize">
            (x, roi, , s) }""",
    ),
    "two of one constant": (
        """g (float[2,4] x) => (float[2,3] y, float[3,4] z) <int64[1] s = {3}>
        { y = Resize <axes = [1]> (x, , , s)  z = Resize <axes = [0]> (x, , , s) }""",
        """g (float[2,4] x) => (float[2,3] y, float[3,4] z)
        <int64[2] s = {2, 3}, int64[2] t = {3, 4}>
        { y = Resize (x, , , s)  z = Resize (x, , , t) }""",
    ),
    "inside a branch": (
        """g (bool c, float[2,4] x) => (float[2,3] y) <int64[1] s = {3}>
        { y = If (c) <
            then_branch = t () => (float[2,3] a) { a = Resize <axes = [1]> (x, , , s) },
            else_branch = e () => (float[2,3] b) { b = Resize <axes = [1]> (x, , , s) }> }""",
        """g (bool c, float[2,4] x) => (float[2,3] y)
        <int64[2] s = {2, 3}, int64[2] t = {2, 3}>
        { y = If (c) <
            then_branch = t () => (float[2,3] a) { a = Resize (x, , , s) },
            else_branch = e () => (float[2,3] b) { b = Resize (x, , , t) }> }""",
    ),
}

KEPT = {
    "every axis": """g (float[2,4] x) => (float[2,3] y) <int64[2] s = {2, 3}>
        { y = Resize (x, , , s) }""",
    "a policy of the axes": """g (float[2,4] x) => (float[2,3] y) <int64[1] s = {3}>
        { y = Resize <axes = [1], keep_aspect_ratio_policy = "not_larger"> (x, , , s) }""",
    "sizes that are computed": """g (float[2,4] x, int64[1] s) => (float[2,n] y)
        { y = Resize <axes = [1]> (x, , , s) }""",
    "an unknown shape": """g (float[2,n] x) => (float[2,3] y) <int64[1] s = {3}>
        { y = Resize <axes = [1]> (x, , , s) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes(before: str, after: str) -> None:
    result = WidenResize()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not WidenResize()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = WidenResize()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """The same positions in x: the same to the bit."""
    assert_same_answers(inferred(before), WidenResize(), roundings=0)
