"""ReduceMeanToPool: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.reduce_mean_to_pool import ReduceMeanToPool
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

CHANGES = {
    "kept axes": (
        """g (float[1,2,3,4] x) => (float[1,2,1,1] y) <int64[2] axes = {2, 3}>
        { y = ReduceMean (x, axes) }""",
        """g (float[1,2,3,4] x) => (float[1,2,1,1] y) { y = GlobalAveragePool (x) }""",
    ),
    "dropped axes": (
        """g (float[1,2,3,4] x) => (float[1,2] y) <int64[2] axes = {-1, -2}>
        { y = ReduceMean <keepdims = 0> (x, axes) }""",
        """g (float[1,2,3,4] x) => (float[1,2] y) <int64[2] shape = {1, 2}>
        { p = GlobalAveragePool (x)  y = Reshape (p, shape) }""",
    ),
}

KEPT = {
    "one axis": """g (float[1,2,3,4] x) => (float[1,2,1,4] y) <int64[1] axes = {2}>
        { y = ReduceMean (x, axes) }""",
    "axes that are an input": """g (float[1,2,3,4] x, int64[2] axes) => (float[1,2,1,1] y)
        <int64[2] axes = {2, 3}> { y = ReduceMean (x, axes) }""",
    "rank 3": """g (float[2,3,4] x) => (float[2,1,1] y) <int64[2] axes = {1, 2}>
        { y = ReduceMean (x, axes) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes(before: str, after: str) -> None:
    result = ReduceMeanToPool()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not ReduceMeanToPool()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = ReduceMeanToPool()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """Twelve terms in another order."""
    assert_same_answers(inferred(before), ReduceMeanToPool(), roundings=12)
