"""RemoveCasts: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.remove_casts import RemoveCasts
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

CHANGES = {
    "there and back": (
        """g (float[4] x) => (float[4] y)
        { a = Cast <to = 11> (x)  b = Cast <to = 1> (a)  y = Neg (b) }""",
        """g (float[4] x) => (float[4] y) { y = Neg (x) }""",
    ),
    "through a wider type": (
        """g (int32[4] x) => (float[4] y)
        { a = Cast <to = 7> (x)  y = Cast <to = 1> (a) }""",
        """g (int32[4] x) => (float[4] y) { y = Cast <to = 1> (x) }""",
    ),
    "of a constant": (
        """g (float[2] x) => (float[2] y)
        <int32[2] d = {1, 2}>
        { a = Cast <to = 11> (d)  f = Cast <to = 1> (a)  y = Mul (x, f) }""",
        """g (float[2] x) => (float[2] y) <float[2] c = {1.0, 2.0}> { y = Mul (x, c) }""",
    ),
    "a first one with a second reader": (
        """g (float[4] x) => (float[4] y, double[4] z)
        { z = Cast <to = 11> (x)  b = Cast <to = 1> (z)  y = Neg (b) }""",
        """g (float[4] x) => (float[4] y, double[4] z)
        { z = Cast <to = 11> (x)  y = Neg (x) }""",
    ),
}

KEPT = {
    "a first one that rounds": """g (float[4] x) => (float[4] y)
        { a = Cast <to = 7> (x)  b = Cast <to = 1> (a)  y = Neg (b) }""",
    "one alone": """g (float[4] x) => (double[4] y) { y = Cast <to = 11> (x) }""",
    "a graph output": """g (float[4] x) => (float[4] y) { y = Cast <to = 1> (x) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes(before: str, after: str) -> None:
    result = RemoveCasts()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not RemoveCasts()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = RemoveCasts()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """No number changes: the same to the bit."""
    assert_same_answers(inferred(before), RemoveCasts(), roundings=0)
