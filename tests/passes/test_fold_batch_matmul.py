"""Products of two activations: the fold against onnxruntime, and what stays float."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qcompile.ops import FLOAT_REASON
from qcompile.passes.fold_qdq import FoldQdq
from qcompile.targets import TARGETS
from tests.graphs import HEADER
from tests.qdq_models import run_integers, run_reference

SHAPES = {
    "matrices": ((3, 40), (40, 5)),
    "a batch": ((2, 3, 40), (2, 40, 5)),
    "broadcast": ((2, 1, 3, 40), (4, 40, 5)),
}


def model(
    a: tuple[int, ...], b: tuple[int, ...], *, zero_point: int = 77, quantized: bool = True
) -> onnx.ModelProto:
    """Return y = Relu(MatMul(a, b)) between Q and DQ; the answer stays float where asked."""
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    shapes = [", ".join(map(str, each)) for each in (a, b, (*batch, *a[-2:-1], *b[-1:]))]
    tail = "k = QuantizeLinear(r, s_y, z_y)  y = DequantizeLinear(k, s_y, z_y)"
    text = f"""
        g (float[{shapes[0]}] a, float[{shapes[1]}] b) => (float[{shapes[2]}] y)
        <float s_a = {{0.0625}}, uint8 z_a = {{120}}, float s_b = {{0.03125}},
         uint8 z_b = {{{zero_point}}}, float s_y = {{0.25}}, uint8 z_y = {{3}}>
        {{ q = QuantizeLinear(a, s_a, z_a)  d = DequantizeLinear(q, s_a, z_a)
           p = QuantizeLinear(b, s_b, z_b)  e = DequantizeLinear(p, s_b, z_b)
           m = MatMul(d, e)  r = Relu(m)  {tail if quantized else "y = Identity(r)"} }}"""
    proto = onnx.parser.parse_model(HEADER + text)
    return onnx.shape_inference.infer_shapes(proto)


def folded(proto: onnx.ModelProto) -> ir.Model:
    return FoldQdq(TARGETS["x86-vnni"])(ir.from_proto(proto)).model


@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize(("a", "b"), SHAPES.values(), ids=SHAPES)
def test_agrees_with_onnxruntime(
    a: tuple[int, ...], b: tuple[int, ...], quantized: bool
) -> None:
    """Every scale is a power of two, so that float32 holds what onnxruntime computes."""
    rng, proto = np.random.default_rng(0), model(a, b, quantized=quantized)
    inputs = {
        name: rng.normal(0, 3, shape).astype(np.float32)
        for name, shape in (("a", a), ("b", b))
    }
    graph = folded(proto)
    assert "QBatchMatMul" in [node.op_type for node in graph.graph]
    (expected,), (got,) = run_reference(proto, inputs), run_integers(graph, inputs)
    np.testing.assert_array_equal(got, expected)


def test_sums_beyond_int32_stay_float() -> None:
    (node,) = (n for n in folded(model((1, 90000), (90000, 1))).graph if n.op_type == "MatMul")
    reason = node.metadata_props[FLOAT_REASON]
    assert reason == "it sums 90000 products, which int32 may not hold"


def test_a_vector_stays_float() -> None:
    text = """
        g (float[3,4] a, float[4] b) => (float[3] y)
        <float s = {0.5}, uint8 z = {120}>
        { q = QuantizeLinear(a, s, z)  d = DequantizeLinear(q, s, z)
          p = QuantizeLinear(b, s, z)  e = DequantizeLinear(p, s, z)  y = MatMul(d, e) }"""
    proto = onnx.parser.parse_model(HEADER + text)
    (node,) = (
        n
        for n in folded(onnx.shape_inference.infer_shapes(proto)).graph
        if n.op_type == "MatMul"
    )
    reason = node.metadata_props[FLOAT_REASON]
    assert reason == "input 1 is a vector, the kernel multiplies matrices"
