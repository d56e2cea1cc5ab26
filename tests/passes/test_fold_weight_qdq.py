"""Graphs before and after FoldWeightQdq."""

from __future__ import annotations

import pytest
from onnx_ir.passes.common import RemoveUnusedNodesPass

from qcompile.passes.fold_weight_qdq import FoldWeightQdq
from tests.graphs import assert_graph, graph

CHANGES = {
    "float weight between Q and DQ": (
        """g (float[1,2] x) => (float[1,2] y)
        <float[2,2] w = {1, -2.25, 99, 0}, float s = {0.5}, int8 z = {0}>
        { q = QuantizeLinear(w, s, z)  d = DequantizeLinear(q, s, z)  y = MatMul(x, d) }""",
        """g (float[1,2] x) => (float[1,2] y)
        <int8[2,2] w = {2, -4, 127, 0}, float s = {0.5}, int8 z = {0}>
        { d = DequantizeLinear(w, s, z)  y = MatMul(x, d) }""",
    ),
    "per channel": (
        """g (float[1,2] x) => (float[1,2] y)
        <float[2,2] w = {1, 1, 1, 1}, float[2] s = {0.5, 0.25}, int8[2] z = {0, 0}>
        { q = QuantizeLinear<axis = 0>(w, s, z)  d = DequantizeLinear<axis = 0>(q, s, z)
          y = MatMul(x, d) }""",
        """g (float[1,2] x) => (float[1,2] y)
        <int8[2,2] w = {2, 2, 4, 4}, float[2] s = {0.5, 0.25}, int8[2] z = {0, 0}>
        { d = DequantizeLinear<axis = 0>(w, s, z)  y = MatMul(x, d) }""",
    ),
    "transposed behind its DQ": (
        """g (float[1,2] x) => (float[1,3] y)
        <int8[3,2] w = {1, 2, 3, 4, 5, 6}, float[3] s = {0.5, 0.25, 1}>
        { d = DequantizeLinear<axis = 0>(w, s)  t = Transpose(d)  y = MatMul(x, t) }""",
        """g (float[1,2] x) => (float[1,3] y)
        <int8[2,3] w = {1, 3, 5, 2, 4, 6}, float[3] s = {0.5, 0.25, 1}>
        { d = DequantizeLinear<axis = 1>(w, s)  y = MatMul(x, d) }""",
    ),
    "what a Pad fills in": (
        """g (float[2] x) => (float[4] y)
        <int64[2] pads = {1, 1}, uint8 c = {5}, float s = {0.5}, uint8 z = {2}>
        { d = DequantizeLinear(c, s, z)  y = Pad(x, pads, d) }""",
        """g (float[2] x) => (float[4] y) <int64[2] pads = {1, 1}, float c = {1.5}>
        { y = Pad(x, pads, c) }""",
    ),
    "inside a branch": (
        """g (bool c, float[1,2] x) => (float[1,2] y)
        { y = If (c) <
            then_branch: graph = t () => (float[1,2] a)
              <int8[2,2] w = {1, 2, 3, 4}, float s = {0.5}>
              { d = DequantizeLinear(w, s)  t = Transpose(d)  a = MatMul(x, t) },
            else_branch: graph = e () => (float[1,2] b) { b = Identity(x) }> }""",
        """g (bool c, float[1,2] x) => (float[1,2] y)
        { y = If (c) <
            then_branch: graph = t () => (float[1,2] a)
              <int8[2,2] w = {1, 3, 2, 4}, float s = {0.5}>
              { d = DequantizeLinear(w, s)  a = MatMul(x, d) },
            else_branch: graph = e () => (float[1,2] b) { b = Identity(x) }> }""",
    ),
}

KEPT = {
    "activation": """g (float[2,2] x) => (float[2,2] y) <float s = {0.5}, int8 z = {0}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Transpose(d) }""",
    "graph output": """g (float[1] x) => (int8[1] y, float[1] u)
        <float[1] w = {1}, float s = {0.5}, int8 z = {0}>
        { y = QuantizeLinear(w, s, z)  u = Relu(x) }""",
    "initializer that is an input": """g (float[2,2] x, float[2,2] w = {1, 1, 1, 1})
        => (float[2,2] y) <float s = {0.5}, int8 z = {0}>
        { q = QuantizeLinear(w, s, z)  d = DequantizeLinear(q, s, z)  y = MatMul(x, d) }""",
    "16 bits": """g (float[2,2] x) => (float[2,2] y)
        <float[2,2] w = {1, 1, 1, 1}, float s = {0.5}, int16 z = {0}>
        { q = QuantizeLinear(w, s, z)  d = DequantizeLinear(q, s, z)  y = MatMul(x, d) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_computes(before: str, after: str) -> None:
    result = FoldWeightQdq()(graph(before))
    assert result.modified
    assert not FoldWeightQdq()(result.model).modified
    RemoveUnusedNodesPass()(result.model)
    assert_graph(result.model, after)


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    model = graph(before)
    assert not FoldWeightQdq()(model).modified
    assert_graph(model, before)
