"""Graphs before and after RemoveIdentities."""

from __future__ import annotations

import pytest

from qcompile.passes.remove_identities import RemoveIdentities
from tests.graphs import assert_graph, graph

CHANGES = {
    "Identity": (
        "g (float[4] x) => (float[4] y) { a = Identity(x)  y = Relu(a) }",
        "g (float[4] x) => (float[4] y) { y = Relu(x) }",
    ),
    "a second user": (
        """g (float[4] x) => (float[4] y, float[4] z)
        { a = Identity(x)  y = Relu(a)  z = Neg(a) }""",
        "g (float[4] x) => (float[4] y, float[4] z) { y = Relu(x)  z = Neg(x) }",
    ),
    "Dropout": (
        "g (float[4] x) => (float[4] y) { a = Dropout(x)  y = Relu(a) }",
        "g (float[4] x) => (float[4] y) { y = Relu(x) }",
    ),
    "Cast to the same type": (
        "g (float[4] x) => (float[4] y) { a = Cast <to = 1> (x)  y = Relu(a) }",
        "g (float[4] x) => (float[4] y) { y = Relu(x) }",
    ),
    "Reshape to the same shape": (
        """g (float[2,2] x) => (float[2,2] y) <int64[2] s = {2, -1}, float[2,2] a>
        { a = Reshape(x, s)  y = Relu(a) }""",
        "g (float[2,2] x) => (float[2,2] y) { y = Relu(x) }",
    ),
    "Transpose in order": (
        """g (float[2,2] x) => (float[2,2] y)
        { a = Transpose <perm = [0, 1]> (x)  y = Relu(a) }""",
        "g (float[2,2] x) => (float[2,2] y) { y = Relu(x) }",
    ),
    "Pad by nothing": (
        """g (float[2] x) => (float[2] y) <int64[2] p = {0, 0}>
        { a = Pad(x, p)  y = Relu(a) }""",
        "g (float[2] x) => (float[2] y) { y = Relu(x) }",
    ),
    "Concat of one": (
        "g (float[2] x) => (float[2] y) { a = Concat <axis = 0> (x)  y = Relu(a) }",
        "g (float[2] x) => (float[2] y) { y = Relu(x) }",
    ),
    "inside a branch": (
        """g (bool c, float[4] x) => (float[4] y)
        { y = If (c) <
            then_branch: graph = t () => (float[4] a) { b = Identity(x)  a = Relu(b) },
            else_branch: graph = e () => (float[4] d) { d = Neg(x) }> }""",
        """g (bool c, float[4] x) => (float[4] y)
        { y = If (c) <
            then_branch: graph = t () => (float[4] a) { a = Relu(x) },
            else_branch: graph = e () => (float[4] d) { d = Neg(x) }> }""",
    ),
}

KEPT = {
    "graph output": "g (float[4] x) => (float[4] y) { y = Identity(x) }",
    "Dropout whose mask is used": """g (float[4] x) => (float[4] y, bool[4] m)
        { a, m = Dropout(x)  y = Relu(a) }""",
    "Dropout in training": """g (float[4] x) => (float[4] y) <float r = {0.5}, bool t = {1}>
        { a = Dropout(x, r, t)  y = Relu(a) }""",
    "Cast to another type": """g (float[4] x) => (float[4] y)
        { a = Cast <to = 6> (x)  b = Cast <to = 1> (a)  y = Relu(b) }""",
    "Transpose that swaps": """g (float[2,2] x) => (float[2,2] y)
        { a = Transpose <perm = [1, 0]> (x)  y = Relu(a) }""",
    "Slice that reverses": """g (float[2] x) => (float[2] y)
        <int64[1] b = {-1}, int64[1] e = {-9}, int64[1] ax = {0}, int64[1] st = {-1}>
        { a = Slice(x, b, e, ax, st)  y = Relu(a) }""",
    "Pad by something": """g (float[2] x) => (float[3] y) <int64[2] p = {0, 1}>
        { a = Pad(x, p)  y = Relu(a) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_removes(before: str, after: str) -> None:
    result = RemoveIdentities()(graph(before))
    assert result.modified
    assert_graph(result.model, after)


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = RemoveIdentities()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)
