"""Quantized models in the forms of other tools: each agrees with onnxruntime on the same file.

Where the form is read as integers the bound is one step of the output's scale an operator:
both round once there, and a tie that float32 breaks the other way moves by one.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.foreign_models import Array, Foreign, imported, kinds, run_onnxruntime, run_oracle

IMAGE, ROWS = (1, 4, 6, 6), (3, 8)
X, W, Y = 0.03, 0.01, 0.05
"""Scales of the input, the weights and the output."""


def weights(*shape: int, dtype: str = "i1") -> Array:
    rng = np.random.default_rng(3)
    low, high = {"i1": (-127, 128), "u1": (0, 256)}[dtype]
    return rng.integers(low, high, shape).astype(dtype)


def channel_scales(count: int) -> Array:
    return np.random.default_rng(4).uniform(0.004, 0.012, count).astype("f4")


def operator_model(
    op_type: str,
    shape: tuple[int, ...],
    *,
    domain: str = "com.microsoft",
    dtype: str = "u1",
    operands: int = 1,
    **attributes: object,
) -> onnx.ModelProto:
    """Return x -> Q -> QOperator of that many equal operands -> DQ."""
    form = Foreign(shape)
    x_grid = form.grid(X, 120 if dtype == "u1" else -8, dtype)
    y_grid = form.grid(Y, 110 if dtype == "u1" else -18, dtype)
    q = form.quantize("x", x_grid)
    y = form.node(op_type, [q, *x_grid] * operands + y_grid, domain=domain, **attributes)
    return form.model(form.node("DequantizeLinear", [y, *y_grid]))


def conv(dtype: str, weight: str, per_channel: bool) -> onnx.ModelProto:
    form = Foreign(IMAGE)
    x_grid = form.grid(X, 120 if dtype == "u1" else -8, dtype)
    y_grid = form.grid(Y * 8, 110 if dtype == "u1" else -18, dtype)
    scale: Array = channel_scales(5) if per_channel else np.asarray(W, "f4")
    w_grid = form.grid(scale, 128 if weight == "u1" else 0, weight)
    w = form.constant(weights(5, 4, 3, 3, dtype=weight))
    bias = form.constant(np.arange(-900, 900, 360).astype("i4"))
    inputs = [form.quantize("x", x_grid), *x_grid, w, *w_grid, *y_grid, bias]
    y = form.node("QLinearConv", inputs, pads=[1, 1, 1, 1], strides=[2, 2])
    return form.model(form.node("DequantizeLinear", [y, *y_grid]))


def matmul(per_channel: bool) -> onnx.ModelProto:
    form = Foreign(ROWS)
    x_grid, y_grid = form.grid(X, 120, "u1"), form.grid(Y * 8, 110, "u1")
    scale: Array = channel_scales(6) if per_channel else np.asarray([W], "f4")
    w = [form.constant(weights(8, 6)), *form.grid(scale, 0, "i1")]
    y = form.node("QLinearMatMul", [form.quantize("x", x_grid), *x_grid, *w, *y_grid])
    return form.model(form.node("DequantizeLinear", [y, *y_grid]))


def gemm(float_answer: bool) -> onnx.ModelProto:
    form = Foreign(ROWS)
    x_grid, y_grid = form.grid(X, 120, "u1"), form.grid(Y * 8, 110, "u1")
    w = [form.constant(weights(6, 8)), *form.grid(channel_scales(6), 0, "i1")]
    bias = form.constant(np.arange(-900, 900, 300).astype("i4"))
    last = [] if float_answer else y_grid
    inputs = [form.quantize("x", x_grid), *x_grid, *w, bias, *last]
    y = form.contrib("QGemm", inputs, transB=1, alpha=1.5)
    return form.model(y if float_answer else form.node("DequantizeLinear", [y, *y_grid]))


def concat() -> onnx.ModelProto:
    form = Foreign(IMAGE)
    first, second = form.grid(X, 120, "u1"), form.grid(X / 2, 100, "u1")
    y_grid = form.grid(Y, 110, "u1")
    a, b = form.quantize("x", first), form.quantize("x", second)
    y = form.contrib("QLinearConcat", [*y_grid, a, *first, b, *second], axis=1)
    return form.model(form.node("DequantizeLinear", [y, *y_grid]))


def where() -> onnx.ModelProto:
    form = Foreign(ROWS)
    first, second = form.grid(X, 120, "u1"), form.grid(X / 2, 100, "u1")
    y_grid = form.grid(Y, 110, "u1")
    a, b = form.quantize("x", first), form.quantize("x", second)
    chosen = form.constant(np.random.default_rng(1).integers(0, 2, ROWS).astype(bool))
    y = form.contrib("QLinearWhere", [chosen, a, *first, b, *second, *y_grid])
    return form.model(form.node("DequantizeLinear", [y, *y_grid]))


def contrib_qdq() -> onnx.ModelProto:
    form = Foreign(ROWS)
    grid = form.grid(X, 120, "u1")
    q = form.contrib("QuantizeLinear", ["x", *grid])
    x = form.contrib("DequantizeLinear", [q, *grid])
    w_grid = form.grid(channel_scales(6), 0, "i1")
    w = form.contrib("DequantizeLinear", [form.constant(weights(8, 6)), *w_grid], axis=1)
    y_grid = form.grid(Y * 8, 110, "u1")
    y = form.contrib("QuantizeLinear", [form.node("MatMul", [x, w]), *y_grid])
    return form.model(form.contrib("DequantizeLinear", [y, *y_grid]))


QOPERATORS: dict[str, tuple[onnx.ModelProto, str, float]] = {
    "QLinearConv u8 s8": (conv("u1", "i1", True), "QConv", Y * 8),
    "QLinearConv u8 u8 around 128": (conv("u1", "u1", False), "QConv", Y * 8),
    "QLinearConv s8 s8": (conv("i1", "i1", True), "QConv", Y * 8),
    "QLinearMatMul per channel": (matmul(True), "QMatMul", Y * 8),
    "QLinearMatMul": (matmul(False), "QMatMul", Y * 8),
    "QGemm": (gemm(False), "QMatMul", Y * 8),
    "QGemm to float": (gemm(True), "QMatMul", 1e-4),
    "QLinearConcat": (concat(), "Concat", Y),
    "QLinearWhere": (where(), "Where", Y),
    "Q/DQ of onnxruntime's domain": (contrib_qdq(), "QMatMul", Y * 8),
    "QLinearAdd": (operator_model("QLinearAdd", ROWS, operands=2), "QAdd", Y),
    "QLinearMul": (operator_model("QLinearMul", ROWS, operands=2), "Mul", Y),
    "QLinearAveragePool": (
        operator_model("QLinearAveragePool", IMAGE, kernel_shape=[2, 2], strides=[2, 2]),
        "QAveragePool",
        Y,
    ),
    "QLinearGlobalAveragePool": (
        operator_model("QLinearGlobalAveragePool", IMAGE, channels_last=0),
        "QAveragePool",
        Y,
    ),
    "QLinearLeakyRelu s8": (
        operator_model("QLinearLeakyRelu", ROWS, dtype="i1", alpha=0.2),
        "QLut",
        Y,
    ),
    "QLinearSigmoid": (operator_model("QLinearSigmoid", ROWS), "QLut", Y),
    "QLinearSoftmax": (
        operator_model("QLinearSoftmax", ROWS, axis=-1, opset=13),
        "QSoftmax",
        Y,
    ),
}


@pytest.mark.parametrize(
    ("proto", "operator", "step"), QOPERATORS.values(), ids=list(QOPERATORS)
)
def test_static_forms_become_integers(
    proto: onnx.ModelProto, operator: str, step: float
) -> None:
    model = imported(proto)
    found = kinds(model)
    # A product of two activations is float where no target has a kernel for it.
    assert operator in found or f"Q{operator}" in found, found
    shape = [value.dim_value for value in proto.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(5).normal(0, 1.5, shape).astype("f4")
    expected, actual = run_onnxruntime(proto, x), run_oracle(model, x)
    assert expected.shape == actual.shape
    assert len(np.unique(expected)) > 3
    assert np.abs(expected - actual).max() <= step * 1.001
