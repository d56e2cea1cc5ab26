"""Graphs before and after FoldPad."""

from __future__ import annotations

import pytest

from qcompile.passes.fold_pad import FoldPad
from tests.graphs import assert_graph, graph

PADS = "int64[8] p = {0, 0, 1, 2, 0, 0, 3, 4}"

CHANGES = {
    "Conv": (
        f"""g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,7,9] y) <{PADS}>
        {{ a = Pad(x, p)  y = Conv(a, w) }}""",
        """g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,7,9] y)
        { y = Conv <pads = [1, 2, 3, 4]> (x, w) }""",
    ),
    "Conv with pads of its own": (
        f"""g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,9,11] y) <{PADS}>
        {{ a = Pad(x, p)  y = Conv <pads = [1, 1, 1, 1]> (a, w) }}""",
        """g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,9,11] y)
        { y = Conv <pads = [2, 3, 4, 5]> (x, w) }""",
    ),
    "AveragePool counts what was padded": (
        f"""g (float[1,2,5,5] x) => (float[1,2,5,7] y) <{PADS}>
        {{ a = Pad(x, p)  y = AveragePool <kernel_shape = [5, 5]> (a) }}""",
        """g (float[1,2,5,5] x) => (float[1,2,5,7] y)
        { y = AveragePool <kernel_shape = [5, 5], pads = [1, 2, 3, 4],
                           count_include_pad = 1> (x) }""",
    ),
    "through a Transpose": (
        """g (float[1,5,5,2] x, float[3,2,3,3] w) => (float[1,3,7,9] y)
        <int64[8] p = {0, 1, 2, 0, 0, 3, 4, 0}>
        { a = Pad(x, p)  t = Transpose <perm = [0, 3, 1, 2]> (a)  y = Conv(t, w) }""",
        """g (float[1,5,5,2] x, float[3,2,3,3] w) => (float[1,3,7,9] y)
        { t = Transpose <perm = [0, 3, 1, 2]> (x)
          y = Conv <pads = [1, 2, 3, 4]> (t, w) }""",
    ),
    "two axes": (
        """g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,5,5] y)
        <int64[4] p = {1, 1, 1, 1}, float v = {0}, int64[2] ax = {-2, 3}>
        { a = Pad(x, p, v, ax)  y = Conv(a, w) }""",
        """g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,5,5] y)
        { y = Conv <pads = [1, 1, 1, 1]> (x, w) }""",
    ),
}

KEPT = {
    "a second user": f"""g (float[1,2,5,5] x, float[3,2,3,3] w)
        => (float[1,3,7,9] y, float[1,2,9,11] z) <{PADS}>
        {{ a = Pad(x, p)  y = Conv(a, w)  z = Relu(a) }}""",
    "another value": f"""g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,7,9] y)
        <{PADS}, float v = {{1.0}}> {{ a = Pad(x, p, v)  y = Conv(a, w) }}""",
    "reflected": f"""g (float[1,2,9,9] x, float[3,2,3,3] w) => (float[1,3,11,13] y) <{PADS}>
        {{ a = Pad <mode = "reflect"> (x, p)  y = Conv(a, w) }}""",
    "of the channels": """g (float[1,2,5,5] x, float[3,3,3,3] w) => (float[1,3,3,3] y)
        <int64[8] p = {0, 1, 0, 0, 0, 0, 0, 0}> { a = Pad(x, p)  y = Conv(a, w) }""",
    "of what a Transpose makes the channels": f"""g (float[1,2,5,5] x, float[3,11,3,3] w)
        => (float[1,3,7,0] y) <{PADS}>
        {{ a = Pad(x, p)  t = Transpose <perm = [0, 3, 2, 1]> (a)  y = Conv(t, w) }}""",
    "before a Transpose with two readers": """g (float[1,5,5,2] x, float[3,2,3,3] w)
        => (float[1,3,7,9] y, float[1,2,9,11] z) <int64[8] p = {0, 1, 2, 0, 0, 3, 4, 0}>
        { a = Pad(x, p)  t = Transpose <perm = [0, 3, 1, 2]> (a)  y = Conv(t, w)
          z = Relu(t) }""",
    "negative": """g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,2,3] y)
        <int64[8] p = {0, 0, -1, 0, 0, 0, 0, 0}> { a = Pad(x, p)  y = Conv(a, w) }""",
    "before a MaxPool": f"""g (float[1,2,5,5] x) => (float[1,2,8,10] y) <{PADS}>
        {{ a = Pad(x, p)  y = MaxPool <kernel_shape = [2, 2]> (a) }}""",
    "AveragePool that leaves its own pads out": f"""g (float[1,2,5,5] x)
        => (float[1,2,10,12] y) <{PADS}>
        {{ a = Pad(x, p)
           y = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (a) }}""",
    "AveragePool whose kernel the pads would reach": """g (float[1,2,5,5] x)
        => (float[1,2,6,7] y) <int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}>
        { a = Pad(x, p)
          y = AveragePool <kernel_shape = [2, 2], pads = [0, 0, 0, 1],
                           count_include_pad = 1, strides = [1, 1]> (a) }""",
    "AveragePool behind a Transpose whose kernel the pads would reach": """g
        (float[1,5,5,2] x) => (float[1,2,8,8] y)
        <int64[8] p = {0, 2, 2, 0, 0, 2, 2, 0}>
        { a = Pad(x, p)  t = Transpose <perm = [0, 3, 1, 2]> (a)
          y = AveragePool <kernel_shape = [2, 2]> (t) }""",
    "of a weight": """g (float[1,2,5,5] x, float[3,2,1,1] w) => (float[1,3,3,3] y)
        <int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}> { a = Pad(w, p)  y = Conv(x, a) }""",
    "of a weight behind a Transpose": """g (float[1,2,5,5] x, float[3,1,1,2] w)
        => (float[1,3,3,3] y) <int64[8] p = {0, 1, 1, 0, 0, 1, 1, 0}>
        { a = Pad(w, p)  t = Transpose <perm = [0, 3, 1, 2]> (a)  y = Conv(x, t) }""",
    "auto_pad": f"""g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,9,11] y) <{PADS}>
        {{ a = Pad(x, p)  y = Conv <auto_pad = "SAME_UPPER"> (a, w) }}""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_folds(before: str, after: str) -> None:
    result = FoldPad()(graph(before))
    assert result.modified
    assert_graph(result.model, after)


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = FoldPad()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)
