"""Quantized models of other tools, through all the QDQ passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from qcompile.ops import DOMAIN, FLOAT_REASON
from qcompile.target import Target
from tests.qdq_models import (
    S8_TARGET,
    U8_TARGET,
    Array,
    Builder,
    integer_graph,
    op_types,
    run_integers,
    run_reference,
)

SHAPE = (1, 3, 16, 16)


def small_network(rng: np.random.Generator) -> onnx.ModelProto:
    """Return a float network: a residual block, a depthwise branch, Concat, pools, a head."""
    arrays: dict[str, Array] = {
        "w0": rng.normal(0, 0.3, (8, 3, 3, 3)),
        "b0": rng.normal(0, 0.1, 8),
        "w1": rng.normal(0, 0.2, (8, 8, 3, 3)),
        "b1": rng.normal(0, 0.1, 8),
        "w2": rng.normal(0, 0.4, (8, 1, 3, 3)),
        "b2": np.zeros(8),
        "w3": rng.normal(0, 0.2, (16, 10)),
        "b3": rng.normal(0, 0.1, 10),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c1", "r0"], ["a"]),
        helper.make_node("Relu", ["a"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("Sigmoid", ["c2"], ["g"]),
        helper.make_node("Concat", ["r1", "g"], ["k"], axis=1),
        helper.make_node("MaxPool", ["k"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["m"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"]),
    ]
    for node in nodes:
        node.name = f"{node.op_type}_{node.output[0]}"
    made = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10))],
        [numpy_helper.from_array(array.astype("f4"), name) for name, array in arrays.items()],
    )
    opset = [helper.make_opsetid("", 21)]
    return helper.make_model(made, opset_imports=opset, ir_version=10)


class Samples(CalibrationDataReader):  # type: ignore[misc]
    """Eight random images."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.samples = iter([{"x": image(rng)} for _ in range(8)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.samples, None)


def image(rng: np.random.Generator) -> Array:
    return rng.normal(0, 1, SHAPE).astype(np.float32)


@pytest.fixture(
    scope="module",
    params=[(QuantType.QUInt8, True), (QuantType.QUInt8, False), (QuantType.QInt8, True)],
    ids=["u8 per channel", "u8 per tensor", "s8 per channel"],
)
def quantized(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> onnx.ModelProto:
    activation, per_channel = request.param
    folder: Path = tmp_path_factory.mktemp("quantized")
    onnx.save(small_network(np.random.default_rng(0)), folder / "float.onnx")
    quantize_static(
        folder / "float.onnx",
        folder / "qdq.onnx",
        Samples(),
        quant_format=QuantFormat.QDQ,
        activation_type=activation,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )
    return onnx.shape_inference.infer_shapes(onnx.load(folder / "qdq.onnx"), strict_mode=True)


@pytest.mark.parametrize("where", [U8_TARGET, S8_TARGET], ids=lambda where: where.name)
def test_onnxruntime_quantizer(quantized: onnx.ModelProto, where: Target) -> None:
    model = integer_graph(ir.from_proto(quantized), where)
    kinds = op_types(model)
    assert [kinds.count(kind) for kind in ("QConv", "QMatMul", "QAdd")] == [3, 1, 1]
    assert not any(FLOAT_REASON in node.metadata_props for node in model.graph)
    assert kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear") == 1
    scales = {tensor.name: tensor for tensor in quantized.graph.initializer}
    step = float(numpy_helper.to_array(scales["y_scale"]))
    rng = np.random.default_rng(8)
    wanted, given = [], []
    for x in (image(rng) for _ in range(20)):
        wanted.append(np.rint(run_reference(quantized, {"x": x})[0] / step))
        given.append(np.rint(run_integers(model, {"x": x})[0] / step))
    apart = np.abs(np.array(wanted) - np.array(given))
    assert len(np.unique(wanted)) > 50
    # A tie that float32 breaks the other way moves one activation of thousands by one step.
    assert apart.max() <= 1
    assert apart.mean() <= 0.02


def tflite_like(rng: np.random.Generator) -> onnx.ModelProto:
    """Return what a converted int8 TFLite file looks like.

    int8 affine activations, a Relu6 that is only a scale, weights per channel, an int32 bias
    behind a DequantizeLinear, NHWC input behind a Transpose, movers without a pair behind.
    """
    builder = Builder((2, 8, 8, 3), np.int8)
    x = builder.node("Transpose", [builder.qdq("x", 1 / 128, 0)], perm=[0, 3, 1, 2])
    scale, x_scale = rng.uniform(0.002, 0.01, 8).astype("f4"), np.float32(1 / 128)
    w = builder.weight(rng.integers(-127, 128, (8, 3, 3, 3)).astype("i1"), scale)
    b = builder.weight(rng.integers(-3000, 3000, 8).astype("i4"), scale * x_scale)
    y = builder.node("Conv", [x, w, b], pads=[0, 0, 1, 1], strides=[2, 2])
    y = builder.qdq(builder.node("Relu", [y]), 6 / 255, -128)
    y = builder.node("MaxPool", [y], kernel_shape=[2, 2], strides=[2, 2])
    y = builder.node("Flatten", [builder.node("Transpose", [y], perm=[0, 2, 3, 1])])
    w = builder.weight(rng.integers(-127, 128, (5, 32)).astype("i1"), 0.01)
    b = builder.weight(rng.integers(-3000, 3000, 5).astype("i4"), np.float32(0.01) * 6 / 255)
    y = builder.qdq(builder.node("Gemm", [y, w, b], transB=1), 0.09, 12)
    y = builder.node("Softmax", [y], axis=-1)
    return builder.model(builder.qdq(y, 1 / 256, -128))


def test_tflite_like() -> None:
    proto = tflite_like(np.random.default_rng(1))
    model = integer_graph(ir.from_proto(proto))
    assert op_types(model) == [
        "QuantizeLinear",
        "Transpose",
        "QConv",
        "MaxPool",
        "Transpose",
        "Flatten",
        "QMatMul",
        "QSoftmax",
        "DequantizeLinear",
    ]
    x = np.random.default_rng(2).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    (expected,), (actual,) = run_reference(proto, {"x": x}), run_integers(model, {"x": x})
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1 / 256)  # one step
    np.testing.assert_array_equal(actual.argmax(axis=1), expected.argmax(axis=1))


def test_nodes_and_outputs_keep_their_names() -> None:
    proto = tflite_like(np.random.default_rng(1))
    names = {node.name for node in proto.graph.node}
    model = integer_graph(ir.from_proto(proto))
    assert {str(node.name) for node in model.graph} <= names
    assert [value.name for value in model.graph.outputs] == [proto.graph.output[0].name]
    assert all(node.name for node in model.graph if node.domain == DOMAIN)


def test_weights_of_training_tools() -> None:
    """Float weights between Q and DQ, a Transpose behind, the bias in an Add."""
    rng = np.random.default_rng(3)
    builder = Builder((4, 6))
    scale = builder.constant("s", np.float32(0.01))
    zero = builder.constant("z", np.int8(0))
    w = builder.constant("w", rng.normal(0, 0.4, (5, 6)).astype("f4"))
    w = builder.node("QuantizeLinear", [w, scale, zero])
    w = builder.node("DequantizeLinear", [w, scale, zero])
    w = builder.node("Transpose", [w], perm=[1, 0])
    x = builder.node("QuantizeLinear", ["x", builder.constant("sx", np.float32(0.02))])
    y = builder.node("MatMul", [builder.node("DequantizeLinear", [x, "sx"]), w])
    y = builder.node("Add", [y, builder.constant("b", rng.normal(size=(1, 5)).astype("f4"))])
    proto = builder.model(builder.qdq(y, 0.05, 100))
    model = integer_graph(ir.from_proto(proto))
    assert op_types(model) == ["QuantizeLinear", "QMatMul", "DequantizeLinear"]
    x_values = rng.uniform(0, 5, (4, 6)).astype(np.float32)
    (expected,) = run_reference(proto, {"x": x_values})
    (actual,) = run_integers(model, {"x": x_values})
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.05 * 1.001)  # one step
