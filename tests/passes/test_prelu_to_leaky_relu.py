"""PReluToLeakyRelu: graphs before and after, and onnxruntime's answers before and after."""

from __future__ import annotations

import pytest

from qcompile.passes.prelu_to_leaky_relu import PReluToLeakyRelu
from tests.answers import assert_same_answers, inferred
from tests.graphs import assert_graph

CHANGES = {
    "one slope": (
        """g (float[1,2,3] x) => (float[1,2,3] y)
        <float[1] a = {0.25}> { y = PRelu (x, a) }""",
        """g (float[1,2,3] x) => (float[1,2,3] y) { y = LeakyRelu <alpha = 0.25> (x) }""",
    ),
    "equal slopes": (
        """g (float[1,2,3] x) => (float[1,2,3] y) <float[2,1] a = {0.25, 0.25}>
        { y = PRelu (x, a) }""",
        """g (float[1,2,3] x) => (float[1,2,3] y) { y = LeakyRelu <alpha = 0.25> (x) }""",
    ),
}

KEPT = {
    "other slopes": """g (float[1,2,3] x) => (float[1,2,3] y) <float[2,1] a = {0.25, 0.5}>
        { y = PRelu (x, a) }""",
    "slopes that are an input": """g (float[1,2,3] x, float[1] a) => (float[1,2,3] y)
        <float[1] a = {0.25}> { y = PRelu (x, a) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes(before: str, after: str) -> None:
    result = PReluToLeakyRelu()(inferred(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not PReluToLeakyRelu()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = PReluToLeakyRelu()(inferred(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize("before", [before for before, _ in CHANGES.values()], ids=CHANGES)
def test_same_answers(before: str) -> None:
    """The same product: the same to the bit."""
    assert_same_answers(inferred(before), PReluToLeakyRelu(), roundings=0)
