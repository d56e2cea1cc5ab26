"""Graphs before and after PropagateQdq."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import RemoveUnusedNodesPass

from qcompile import oracle
from qcompile.config import CompileConfig
from qcompile.passes.propagate_qdq import PropagateQdq
from tests.graphs import assert_graph
from tests.qdq_models import S8_TARGET, U8_TARGET, run_reference, typed

CHANGES = {
    "sinks": (
        """g (int8[2,3] x) => (float[3,2] y) <float s = {0.5}, int8 z = {0}>
        { d = DequantizeLinear(x, s, z)  y = Transpose(d) }""",
        """g (int8[2,3] x) => (float[3,2] y) <float s = {0.5}, int8 z = {0}>
        { t = Transpose(x)  y = DequantizeLinear(t, s, z) }""",
    ),
    "sinks below a chain": (
        """g (int8[2,3] x) => (float[6,1] y) <float s = {0.5}, int8 z = {0}, int64[1] a = {1}>
        { d = DequantizeLinear(x, s, z)  t = Flatten<axis = 0>(d)  u = Transpose(t)
          y = Relu(u) }""",
        """g (int8[2,3] x) => (float[6,1] y) <float s = {0.5}, int8 z = {0}>
        { t = Flatten<axis = 0>(x)  u = Transpose(t)  d = DequantizeLinear(u, s, z)
          y = Relu(d) }""",
    ),
    "the other user keeps its own": (
        """g (int8[2,3] x) => (float[3,2] y, float[2,3] w) <float s = {0.5}, int8 z = {0}>
        { d = DequantizeLinear(x, s, z)  y = Transpose(d)  w = Relu(d) }""",
        """g (int8[2,3] x) => (float[3,2] y, float[2,3] w) <float s = {0.5}, int8 z = {0}>
        { d = DequantizeLinear(x, s, z)  t = Transpose(x)  y = DequantizeLinear(t, s, z)
          w = Relu(d) }""",
    ),
    "concat of one scale": (
        """g (int8[2] a, int8[2] b) => (float[4] y)
        <float s = {0.5}, float t = {0.5}, int8 z = {0}>
        { d = DequantizeLinear(a, s, z)  e = DequantizeLinear(b, t, z)
          y = Concat<axis = 0>(d, e) }""",
        """g (int8[2] a, int8[2] b) => (float[4] y) <float s = {0.5}, int8 z = {0}>
        { c = Concat<axis = 0>(a, b)  y = DequantizeLinear(c, s, z) }""",
    ),
    "rises": (
        """g (float[2,3] x) => (int8[3,2] y) <float s = {0.5}, int8 z = {0}>
        { t = Transpose(x)  y = QuantizeLinear(t, s, z) }""",
        """g (float[2,3] x) => (int8[3,2] y) <float s = {0.5}, int8 z = {0}>
        { q = QuantizeLinear(x, s, z)  y = Transpose(q) }""",
    ),
    "rises above concat of two scales": (
        """g (int8[2] a, float[2] b) => (int8[4] y)
        <float s = {0.5}, float t = {0.25}, int8 z = {0}>
        { d = DequantizeLinear(a, s, z)  c = Concat<axis = 0>(d, b)
          y = QuantizeLinear(c, t, z) }""",
        """g (int8[2] a, float[2] b) => (int8[4] y)
        <float s = {0.5}, float t = {0.25}, int8 z = {0}>
        { d = DequantizeLinear(a, s, z)  p = QuantizeLinear(d, t, z)
          q = QuantizeLinear(b, t, z)  y = Concat<axis = 0>(p, q) }""",
    ),
    "two equal users rise as one": (
        """g (float[2,3] x) => (float[3,2] y, int8[3,2] w) <float s = {0.5}, int8 z = {0}>
        { t = Transpose(x)  q = QuantizeLinear(t, s, z)  w = QuantizeLinear(t, s, z)
          y = DequantizeLinear(q, s, z) }""",
        """g (float[2,3] x) => (float[3,2] y, int8[3,2] w) <float s = {0.5}, int8 z = {0}>
        { q = QuantizeLinear(x, s, z)  w = Transpose(q)  y = DequantizeLinear(w, s, z) }""",
    ),
    "a constant is quantized at once": (
        """g (float[2] x) => (int8[4] y) <float s = {0.5}, int8 z = {1}, float[2] c = {1, -9}>
        { t = Concat<axis = 0>(x, c)  y = QuantizeLinear(t, s, z) }""",
        """g (float[2] x) => (int8[4] y) <float s = {0.5}, int8 z = {1}, int8[2] c = {3, -17}>
        { q = QuantizeLinear(x, s, z)  y = Concat<axis = 0>(q, c) }""",
    ),
    "padding with 0 sinks as the zero point": (
        """g (int8[2] x) => (float[4] y) <float s = {0.5}, int8 z = {7}, int64[2] p = {1, 1}>
        { d = DequantizeLinear(x, s, z)  y = Pad(d, p) }""",
        """g (int8[2] x) => (float[4] y)
        <float s = {0.5}, int8 z = {7}, int64[2] p = {1, 1}, int8 f = {7}>
        { q = Pad(x, p, f)  y = DequantizeLinear(q, s, z) }""",
    ),
    "padding with anything rises": (
        """g (float[2] x) => (int8[4] y)
        <float s = {0.5}, int8 z = {7}, int64[2] p = {1, 1}, float f = {1.2}>
        { t = Pad(x, p, f)  y = QuantizeLinear(t, s, z) }""",
        """g (float[2] x) => (int8[4] y)
        <float s = {0.5}, int8 z = {7}, int64[2] p = {1, 1}, int8 f = {9}>
        { q = QuantizeLinear(x, s, z)  y = Pad(q, p, f) }""",
    ),
    "reflected padding": (
        """g (int8[3] x) => (float[5] y) <float s = {0.5}, int8 z = {7}, int64[2] p = {1, 1}>
        { d = DequantizeLinear(x, s, z)  y = Pad<mode = "reflect">(d, p) }""",
        """g (int8[3] x) => (float[5] y) <float s = {0.5}, int8 z = {7}, int64[2] p = {1, 1}>
        { q = Pad<mode = "reflect">(x, p)  y = DequantizeLinear(q, s, z) }""",
    ),
}

KEPT = {
    "no mover": """g (int8[2] x) => (float[2] y) <float s = {0.5}, int8 z = {0}>
        { d = DequantizeLinear(x, s, z)  y = Relu(d) }""",
    "two scales": """g (int8[2] a, int8[2] b) => (float[4] y)
        <float s = {0.5}, float t = {0.25}, int8 z = {0}>
        { d = DequantizeLinear(a, s, z)  e = DequantizeLinear(b, t, z)
          y = Concat<axis = 0>(d, e) }""",
    "two scales behind": """g (float[2,3] x) => (int8[3,2] y, int8[3,2] w)
        <float s = {0.5}, float t = {0.25}, int8 z = {0}>
        { t0 = Transpose(x)  y = QuantizeLinear(t0, s, z)  w = QuantizeLinear(t0, t, z) }""",
    "also wanted in float": """g (float[2,3] x) => (int8[3,2] y, float[3,2] w)
        <float s = {0.5}, int8 z = {0}>
        { w = Transpose(x)  y = QuantizeLinear(w, s, z) }""",
    "padding that no integer holds": """g (int8[2] x) => (float[4] y)
        <float s = {0.5}, int8 z = {7}, int64[2] p = {1, 1}, float f = {1.2}>
        { d = DequantizeLinear(x, s, z)  y = Pad(d, p, f) }""",
    "indices are wanted": """g (int8[1,1,4] x) => (float[1,1,2] y, int64[1,1,2] i)
        <float s = {0.5}, int8 z = {0}>
        { d = DequantizeLinear(x, s, z)
          y, i = MaxPool<kernel_shape = [2], strides = [2]>(d) }""",
    "type the target does not take": """g (uint8[2,3] x) => (float[3,2] y)
        <float s = {0.5}, uint8 z = {0}>
        { d = DequantizeLinear(x, s, z)  y = Transpose(d) }""",
    "inside a branch": """g (bool c, int8[2,2] x) => (float[2,2] y)
        <float s = {0.5}, int8 z = {0}>
        { d = DequantizeLinear(x, s, z)
          y = If (c) <then_branch: graph = t () => (float[2,2] a) { a = Transpose(d) },
                      else_branch: graph = e () => (float[2,2] b) { b = Identity(d) }> }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_exchanges(before: str, after: str) -> None:
    step = PropagateQdq(S8_TARGET)
    result = step(typed(before))
    assert result.modified
    assert not step(result.model).modified
    RemoveUnusedNodesPass()(result.model)
    assert_graph(result.model, after)


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = PropagateQdq(S8_TARGET)(typed(before))
    assert not result.modified
    assert_graph(result.model, before)


def test_keeps_what_the_config_names() -> None:
    before = CHANGES["sinks"][0]
    config = CompileConfig(float_ops=("Transpose",))
    assert not PropagateQdq(S8_TARGET, config)(typed(before)).modified


def test_values_are_the_same() -> None:
    model = typed("""g (float[1,2,5,5] x) => (float[1,2,3,3] y)
        <float s = {0.5}, uint8 z = {7}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
          y = MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(d) }""")
    x = np.random.default_rng(0).normal(0, 9, (1, 2, 5, 5)).astype(np.float32)
    (expected,) = run_reference(ir.to_proto(model), {"x": x})
    assert PropagateQdq(U8_TARGET)(model).modified
    np.testing.assert_array_equal(oracle.run(model, {"x": x})["y"], expected)
