"""Graphs before and after MergeTransposes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from qcompile.passes.merge_transposes import MergeTransposes
from tests.graphs import assert_graph, graph

TO_NCHW = "perm = [0, 3, 1, 2]"
TO_NHWC = "perm = [0, 2, 3, 1]"

CHANGES = {
    "a pair that cancels": (
        f"""g (float[1,4,4,3] x) => (float[1,4,4,3] y)
        {{ a = Transpose <{TO_NCHW}> (x)  b = Transpose <{TO_NHWC}> (a)  y = Relu(b) }}""",
        "g (float[1,4,4,3] x) => (float[1,4,4,3] y) { y = Relu(x) }",
    ),
    "a pair that composes": (
        f"""g (float[1,4,5,3] x) => (float[1,5,3,4] y)
        {{ a = Transpose <{TO_NCHW}> (x)  y = Transpose <{TO_NCHW}> (a) }}""",
        f"""g (float[1,4,5,3] x) => (float[1,5,3,4] y) {{ y = Transpose <{TO_NHWC}> (x) }}""",
    ),
    "beside another user": (
        f"""g (float[1,4,4,3] x) => (float[1,4,4,3] y, float[1,3,4,4] z)
        {{ a = Transpose <{TO_NCHW}> (x)  b = Transpose <{TO_NHWC}> (a)  y = Relu(b)
           z = Softmax(a) }}""",
        f"""g (float[1,4,4,3] x) => (float[1,4,4,3] y, float[1,3,4,4] z)
        {{ a = Transpose <{TO_NCHW}> (x)  y = Relu(x)  z = Softmax(a) }}""",
    ),
    "before a graph output's": (
        f"""g (float[1,4,4,3] x) => (float[1,3,4,4] a, float[1,4,4,3] y)
        {{ a = Transpose <{TO_NCHW}> (x)  b = Transpose <{TO_NHWC}> (a)  y = Relu(b) }}""",
        f"""g (float[1,4,4,3] x) => (float[1,3,4,4] a, float[1,4,4,3] y)
        {{ a = Transpose <{TO_NCHW}> (x)  y = Relu(x) }}""",
    ),
    "a residual of an NHWC exporter": (
        f"""g (float[1,4,4,3] x, float[3,3,1,1] w) => (float[1,4,4,3] y)
        {{ a = Transpose <{TO_NCHW}> (x)  b = Conv(a, w)  c = Transpose <{TO_NHWC}> (b)
           d = Transpose <{TO_NCHW}> (c)  e = Conv(d, w)  f = Transpose <{TO_NHWC}> (e)
           y = Add(f, c) }}""",
        f"""g (float[1,4,4,3] x, float[3,3,1,1] w) => (float[1,4,4,3] y)
        {{ a = Transpose <{TO_NCHW}> (x)  b = Conv(a, w)  e = Conv(b, w)
           s = Add(e, b)  y = Transpose <{TO_NHWC}> (s) }}""",
    ),
    "through a Relu": (
        f"""g (float[1,4,5,3] x) => (float[1,4,5,3] y)
        {{ a = Transpose <{TO_NCHW}> (x)  r = Relu(a)  b = Transpose <{TO_NHWC}> (r)
           y = Neg(b) }}""",
        "g (float[1,4,5,3] x) => (float[1,4,5,3] y) { r = Relu(x)  y = Neg(r) }",
    ),
    "through an Add of two": (
        f"""g (float[1,4,5,3] x, float[1,4,5,3] z) => (float[1,3,4,5] y)
        {{ a = Transpose <{TO_NCHW}> (x)  b = Transpose <{TO_NCHW}> (z)  y = Add(a, b) }}""",
        f"""g (float[1,4,5,3] x, float[1,4,5,3] z) => (float[1,3,4,5] y)
        {{ s = Add(x, z)  y = Transpose <{TO_NCHW}> (s) }}""",
    ),
    "through an Add of a constant": (
        """g (float[2,1] x) => (float[1,2] y) <float[1,2] c = {1, 2}>
        { a = Transpose <perm = [1, 0]> (x)  y = Add(a, c) }""",
        """g (float[2,1] x) => (float[1,2] y) <float[2,1] c = {1, 2}>
        { s = Add(x, c)  y = Transpose <perm = [1, 0]> (s) }""",
    ),
    "through a Concat": (
        f"""g (float[1,4,5,3] x, float[1,4,5,2] z) => (float[1,5,4,5] y)
        {{ a = Transpose <{TO_NCHW}> (x)  b = Transpose <{TO_NCHW}> (z)
           y = Concat <axis = 1> (a, b) }}""",
        f"""g (float[1,4,5,3] x, float[1,4,5,2] z) => (float[1,5,4,5] y)
        {{ s = Concat <axis = 3> (x, z)  y = Transpose <{TO_NCHW}> (s) }}""",
    ),
}

KEPT = {
    "a second user": f"""g (float[1,4,4,3] x) => (float[1,3,4,4] y, float[1,3,4,4] z)
        {{ a = Transpose <{TO_NCHW}> (x)  y = Relu(a)  z = Neg(a) }}""",
    "graph output": f"""g (float[1,4,4,3] x) => (float[1,3,4,4] y)
        {{ y = Transpose <{TO_NCHW}> (x) }}""",
    "before a Conv": f"""g (float[1,4,4,3] x, float[2,3,1,1] w) => (float[1,2,4,4] y)
        {{ a = Transpose <{TO_NCHW}> (x)  y = Conv(a, w) }}""",
    "another order": """g (float[2,2,2] x, float[2,2,2] z) => (float[2,2,2] y)
        { a = Transpose <perm = [0, 2, 1]> (x)  b = Transpose <perm = [1, 0, 2]> (z)
          y = Add(a, b) }""",
    "a constant of lower rank": """g (float[2,3] x) => (float[3,2] y) <float[2] c = {1, 2}>
        { a = Transpose <perm = [1, 0]> (x)  y = Add(a, c) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_merges(before: str, after: str) -> None:
    result = MergeTransposes()(graph(before))
    assert result.modified
    assert_graph(result.model, after)
    assert not MergeTransposes()(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = MergeTransposes()(graph(before))
    assert not result.modified
    assert_graph(result.model, before)


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_same_numbers(before: str, after: str) -> None:
    random = np.random.default_rng(0)
    original = graph(before)
    feeds = {
        str(value.name): random.standard_normal(value.shape.numpy()).astype(np.float32)
        for value in original.graph.inputs
        if value.shape is not None
    }
    expected = run(original, feeds)
    assert np.array_equal(run(MergeTransposes()(original).model, feeds), expected)


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> np.ndarray:
    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])
