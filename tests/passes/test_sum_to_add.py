"""SumToAdd: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.sum_to_add import SumToAdd
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

CHANGES = {
    "of two": (
        "g (float[1,2] x, float[1,2] z) => (float[1,2] y) { y = Sum (x, z) }",
        "g (float[1,2] x, float[1,2] z) => (float[1,2] y) { y = Add (x, z) }",
    ),
    "of three, one of them broadcast": (
        """g (float[2] x, float[3,1] z, float[3,2] w) => (float[3,2] y)
        { y = Sum (x, z, w) }""",
        """g (float[2] x, float[3,1] z, float[3,2] w) => (float[3,2] y)
        { s = Add (x, z)  y = Add (s, w) }""",
    ),
    "of one value twice": (
        "g (float[2] x) => (float[2] y) { y = Sum (x, x) }",
        "g (float[2] x) => (float[2] y) { y = Add (x, x) }",
    ),
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes(before: str, after: str) -> None:
    result = SumToAdd()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not SumToAdd()(result.model).modified


def test_keeps_a_sum_of_one() -> None:
    before = "g (float[2] x) => (float[2] y) { y = Sum (x) }"
    result = SumToAdd()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """The same additions in the same order: the same to the bit."""
    assert_same_answers(inferred(before), SumToAdd(), roundings=0)
