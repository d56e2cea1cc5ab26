"""Graphs before and after RetargetActivations."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qcompile.passes.retarget_activations import RetargetActivations
from tests.graphs import assert_graph
from tests.qdq_models import S8_TARGET, U8_TARGET, run_reference, typed

CHANGES = {
    "int8 becomes uint8": (
        """g (float[2] x) => (float[2] y) <float s = {0.5}, int8 z = {-3}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }""",
        """g (float[2] x) => (float[2] y) <float s = {0.5}, uint8 z = {125}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }""",
    ),
    "every reader": (
        """g (float[2] x) => (float[2] y, float[2] w) <float s = {0.5}, int8 z = {-3}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d)
          e = DequantizeLinear(q, s, z)  w = Mul(e, e) }""",
        """g (float[2] x) => (float[2] y, float[2] w) <float s = {0.5}, uint8 z = {125}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d)
          e = DequantizeLinear(q, s, z)  w = Mul(e, e) }""",
    ),
    "the output of an operator": (
        """g (float[2] x) => (float[2] y) <float s = {0.5}, int8 z = {-3}, uint8 u = {0}>
        { p = QuantizeLinear(x, s, u)  c = DequantizeLinear(p, s, u)  r = Relu(c)
          q = QuantizeLinear(r, s, z)  y = DequantizeLinear(q, s, z) }""",
        """g (float[2] x) => (float[2] y) <float s = {0.5}, uint8 z = {125}, uint8 u = {0}>
        { p = QuantizeLinear(x, s, u)  c = DequantizeLinear(p, s, u)  r = Relu(c)
          q = QuantizeLinear(r, s, z)  y = DequantizeLinear(q, s, z) }""",
    ),
    "through movers on integers": (
        """g (float[2] x) => (float[4] y) <float s = {0.5}, int8 z = {-3}, int64[2] p = {1, 1}>
        { q = QuantizeLinear(x, s, z)  m = Pad(q, p)  d = DequantizeLinear(m, s, z)
          y = Relu(d) }""",
        """g (float[2] x) => (float[4] y)
        <float s = {0.5}, uint8 z = {125}, int64[2] p = {1, 1}, uint8 f = {128}>
        { q = QuantizeLinear(x, s, z)  m = Pad(q, p, f)  d = DequantizeLinear(m, s, z)
          y = Relu(d) }""",
    ),
    "integers that enter the graph": (
        """g (int8[2] x) => (float[2] y) <float s = {0.5}, int8 z = {-3}>
        { d = DequantizeLinear(x, s, z)  y = Relu(d) }""",
        """g (int8[2] x) => (float[2] y) <float s = {0.5}, int8 z = {-3}, uint8 u = {125}>
        { d = DequantizeLinear(x, s, z)  q = QuantizeLinear(d, s, u)
          e = DequantizeLinear(q, s, u)  y = Relu(e) }""",
    ),
    "integers that leave the graph": (
        """g (uint8[2] x) => (int8[2] y) <float s = {0.5}, int8 z = {-3}, uint8 w = {9}>
        { d = DequantizeLinear(x, s, w)  r = Relu(d)  y = QuantizeLinear(r, s, z) }""",
        """g (uint8[2] x) => (int8[2] y)
        <float s = {0.5}, int8 z = {-3}, uint8 w = {9}, uint8 u = {125}>
        { d = DequantizeLinear(x, s, w)  r = Relu(d)  q = QuantizeLinear(r, s, u)
          e = DequantizeLinear(q, s, u)  y = QuantizeLinear(e, s, z) }""",
    ),
}

KEPT = {
    "uint8 already": """g (float[2] x) => (float[2] y) <float s = {0.5}, uint8 z = {3}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }""",
    "no zero point is uint8": """g (float[2] x) => (float[2] y) <float s = {0.5}>
        { q = QuantizeLinear(x, s)  d = DequantizeLinear(q, s)  y = Relu(d) }""",
    "no operator of the target": """g (float[2] x) => (float[2] y)
        <float s = {0.5}, int8 z = {3}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Hardmax(d) }""",
    "weights": """g (float[1,1] x) => (float[1,1] y)
        <float s = {0.5}, int8 z = {0}, int8[1,1] w = {5}>
        { v = DequantizeLinear(w, s, z)  y = MatMul(x, v) }""",
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes_the_type(before: str, after: str) -> None:
    step = RetargetActivations(U8_TARGET)
    model = typed(before)
    dtype = model.graph.inputs[0].dtype
    assert dtype is not None
    x = np.array([1, 127], dtype.numpy())
    expected = run_reference(ir.to_proto(model), {"x": x})
    result = step(model)
    assert result.modified
    assert_graph(result.model, after)
    for array, wanted in zip(
        run_reference(ir.to_proto(model), {"x": x}), expected, strict=True
    ):
        np.testing.assert_array_equal(array, wanted)
    assert not step(result.model).modified


@pytest.mark.parametrize("before", KEPT.values(), ids=KEPT)
def test_keeps(before: str) -> None:
    result = RetargetActivations(U8_TARGET)(typed(before))
    assert not result.modified
    assert_graph(result.model, before)


def test_uint8_becomes_int8() -> None:
    model = typed(KEPT["no zero point is uint8"])
    assert RetargetActivations(S8_TARGET)(model).modified
    assert_graph(
        model,
        """g (float[2] x) => (float[2] y) <float s = {0.5}, int8 z = {-128}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }""",
    )
