"""Observers: which values become outputs of the graph, and which cannot."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest

from qcompile.passes.insert_observers import InsertObservers
from tests.graphs import assert_graph, graph

CHAIN = """g (float[4] x) => (float[4] y)
    { a = Relu(x)  b = Neg(a)  y = Abs(b) }"""
BRANCH = """g (float[4] x, bool c) => (float[4] y)
    { a = Relu(x)
      y = If (c) <then_branch = t () => (float[4] p) { i = Neg(a)  p = Abs(i) },
                  else_branch = e () => (float[4] q) { q = Neg(a) }> }"""

CHANGES = {
    "one value": (
        {"a"},
        CHAIN,
        """g (float[4] x) => (float[4] y, float[4] a)
        { a = Relu(x)  b = Neg(a)  y = Abs(b) }""",
    ),
    "in the order of the graph": (
        {"b", "a"},
        CHAIN,
        """g (float[4] x) => (float[4] y, float[4] a, float[4] b)
        { a = Relu(x)  b = Neg(a)  y = Abs(b) }""",
    ),
    "an input and an output need nothing": (
        {"x", "y", "b"},
        CHAIN,
        """g (float[4] x) => (float[4] y, float[4] b)
        { a = Relu(x)  b = Neg(a)  y = Abs(b) }""",
    ),
    "two users": (
        {"a"},
        "g (float[4] x) => (float[4] y) { a = Relu(x)  y = Add(a, a) }",
        "g (float[4] x) => (float[4] y, float[4] a) { a = Relu(x)  y = Add(a, a) }",
    ),
    "every float": (
        None,
        """g (float[4] x) => (bool[4] y)
        { a = Relu(x)  k = Constant<value = float[4] {1, 2, 3, 4}>()
          b = Add(a, k)  y = Less(b, a) }""",
        """g (float[4] x) => (bool[4] y, float[4] a, float[4] b)
        { a = Relu(x)  k = Constant<value = float[4] {1, 2, 3, 4}>()
          b = Add(a, k)  y = Less(b, a) }""",
    ),
    "outside of a branch": (
        {"a"},
        BRANCH,
        BRANCH.replace("(float[4] y)", "(float[4] y, float[4] a)"),
    ),
}

KEPT = {
    "nothing to observe": (set(), CHAIN),
    "already outputs": ({"y"}, CHAIN),
    "only an input": ({"x"}, CHAIN),
    "initializer that is also an input": (
        {"w"},
        "g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }",
    ),
    "no floats": (None, "g (int64[4] x) => (int64[4] y) { a = Neg(x)  y = Abs(a) }"),
}


def observers(values: set[str] | None) -> InsertObservers:
    return InsertObservers(None if values is None else frozenset(values))


def typed(text: str) -> ir.Model:
    """Parse a graph and infer its types, as the importer does."""
    return common.ShapeInferencePass()(graph(text)).model


@pytest.mark.parametrize(("values", "before", "after"), CHANGES.values(), ids=CHANGES)
def test_observes(values: set[str] | None, before: str, after: str) -> None:
    result = observers(values)(typed(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not observers(values)(result.model).modified
    assert_graph(result.model, after)


@pytest.mark.parametrize(("values", "before"), KEPT.values(), ids=KEPT)
def test_keeps(values: set[str] | None, before: str) -> None:
    result = observers(values)(typed(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize(
    ("name", "text"), [("z", CHAIN), ("i", BRANCH)], ids=["unknown", "inside a branch"]
)
def test_refuses(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"no value named '{name}'"):
        observers({name, "a"})(typed(text))
