"""The QOperator form: an operator that brings the scales of its tensors along."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from qcompile.importer.expansion import Array, Expansion

NOT_OURS = frozenset({"channels_last", "opset"})
"""Attributes that the standard operator lacks."""


@dataclasses.dataclass(frozen=True)
class QForm:
    """Where a QOperator keeps what: op(x, s_x, z_x, ..., s_y, z_y) = Q(op(DQ(x), ...)).

    Attributes:
        op_type: The standard operator.
        operands: Index of each tensor; its scale and zero point are the next two inputs.
        y: Index of the output's scale; its zero point is the next input.
        plain: Index of an input that is not quantized and comes first, if any.
        weighted: Whether the second operand may have a scale for each output channel.
        bias: Index of an int32 bias in steps of s_x * s_w, if there may be one.
    """

    op_type: str
    operands: tuple[int, ...]
    y: int
    plain: int | None = None
    weighted: bool = False
    bias: int | None = None

    def __call__(self, expansion: Expansion) -> None:
        """Replace the node by DequantizeLinear, the operator and QuantizeLinear."""
        refuse_channels_last(expansion)
        inputs = [] if self.plain is None else [expansion.needed(self.plain)]
        for position, index in enumerate(self.operands):
            channel = self.weighted and position == 1
            axis = output_axis(expansion, self.op_type, index) if channel else None
            inputs.append(dequantize(expansion, index, axis))
        if self.bias is not None and expansion.input(self.bias) is not None:
            inputs.append(dequantize_bias(expansion, self.bias, self.operands))
        attributes = attributes_of(expansion)
        y = expansion.emit(self.op_type, inputs, attributes)
        expansion.finish(quantize(expansion, y, self.y, self.operands[0]))


def concat(expansion: Expansion) -> None:
    """QLinearConcat: its output's scale comes first, then the tensors."""
    count = len(expansion.node.inputs)
    inputs = [dequantize(expansion, index, None) for index in range(2, count, 3)]
    y = expansion.emit("Concat", inputs, attributes_of(expansion))
    expansion.finish(quantize(expansion, y, 0, 2))


def softmax(expansion: Expansion) -> None:
    """QLinearSoftmax; before opset 13 it went over all axes from `axis` on."""
    attributes = expansion.node.attributes
    axis = attributes.get_int("axis", -1)
    last = axis == -1 or axis + 1 == expansion.rank(0)
    if attributes.get_int("opset", 13) < 13 and not last:
        expansion.refuse("it is a Softmax over several axes at once (opset before 13)")
    SOFTMAX(expansion)


def gemm(expansion: Expansion) -> None:
    """QGemm; without an output scale its answer is float, and alpha is part of s_w.

    y = alpha * A * B + C        C int32 in steps of alpha * s_a * s_b
    """
    attributes = attributes_of(expansion)
    attributes.pop("alpha", None)
    alpha = expansion.node.attributes.get_float("alpha", 1.0)
    axis = output_axis(expansion, "Gemm", 3)
    inputs = [dequantize(expansion, 0, None), dequantize(expansion, 3, axis, alpha)]
    if expansion.input(6) is not None:
        inputs.append(dequantize_bias(expansion, 6, (0, 3), alpha))
    y = expansion.emit("Gemm", inputs, attributes)
    expansion.finish(y if expansion.input(7) is None else quantize(expansion, y, 7, 0))


def dequantize(
    expansion: Expansion, index: int, axis: int | None, factor: float = 1.0
) -> ir.Value:
    """Return the real numbers of the tensor at `index`, its scales times `factor`.

    Args:
        expansion: The node.
        index: Of the tensor; scale and zero point follow.
        axis: Of several scales; None where only one can be read.
        factor: Goes into the scales.
    """
    scale = expansion.number(index + 1, "its scale").astype(np.float32) * np.float32(factor)
    if scale.size > 1 and (axis is None or scale.size != max(scale.shape)):
        expansion.refuse("it has a scale for each row or matrix of an input")
    inputs = [expansion.needed(index), expansion.constant(f"scale_{index}", _flat(scale))]
    if expansion.input(index + 2) is not None:
        zero_point = expansion.number(index + 2, "its zero point")
        spread = np.broadcast_to(_flat(zero_point), _flat(scale).shape)
        inputs.append(expansion.constant(f"zero_point_{index}", spread))
    along = {} if axis is None or scale.size == 1 else {"axis": axis}
    return expansion.emit("DequantizeLinear", inputs, along, label=f"dq_{index}")


def dequantize_bias(
    expansion: Expansion, index: int, operands: tuple[int, ...], factor: float = 1.0
) -> ir.Value:
    """Return the real numbers of an int32 bias in steps of s_x * s_w."""
    scales = [expansion.number(each + 1, "its scale").reshape(-1) for each in operands[:2]]
    product = factor * np.prod(np.broadcast_arrays(*scales), axis=0, dtype=np.float64)
    scale = _flat(product.astype(np.float32))
    inputs = [expansion.needed(index), expansion.constant(f"scale_{index}", scale)]
    rank = expansion.rank(index) or 1
    along = {} if scale.size == 1 else {"axis": rank - 1}
    return expansion.emit("DequantizeLinear", inputs, along, label=f"dq_{index}")


def quantize(expansion: Expansion, y: ir.Value, index: int, like: int) -> ir.Value:
    """Return y on the grid whose scale stands at `index`; of the type of input `like`."""
    scale = expansion.number(index, "its output's scale")
    if scale.size > 1:
        expansion.refuse("its output has several scales")
    if expansion.input(index + 1) is None:
        dtype = _stored_type(expansion.input(like))
        if dtype is None:
            expansion.refuse("its output has no zero point, and nothing says its type")
        zero_point = np.zeros((), dtype.numpy())
    else:
        zero_point = expansion.number(index + 1, "its output's zero point")
    inputs = [
        y,
        expansion.constant("y_scale", _flat(scale.astype(np.float32))),
        expansion.constant("y_zero_point", _flat(zero_point)),
    ]
    return expansion.emit("QuantizeLinear", inputs, label="q")


def output_axis(expansion: Expansion, op_type: str, index: int) -> int | None:
    """Return the output channel axis of a weight, None where its rank is unknown."""
    if op_type == "Conv":
        return 0
    if op_type == "Gemm":
        return 0 if expansion.node.attributes.get_int("transB", 0) else 1
    rank = expansion.rank(index)
    return None if rank is None else rank - 1


def attributes_of(expansion: Expansion) -> dict[str, ir.Attr]:
    """Return the attributes that the standard operator has too."""
    return {
        name: attribute
        for name, attribute in expansion.node.attributes.items()
        if name not in NOT_OURS
    }


def refuse_channels_last(expansion: Expansion) -> None:
    """Refuse what onnxruntime writes only after it has moved the channels to the end."""
    if expansion.node.attributes.get_int("channels_last", 0):
        expansion.refuse(
            "its channels come last, which onnxruntime writes into optimized models only",
            "give the model as it was before onnxruntime optimized it",
        )


def _flat(array: Array) -> Array:
    """Return one number as a scalar, several as a vector."""
    return array.reshape(()) if array.size == 1 else array.reshape(-1)


def _stored_type(value: ir.Value | None) -> ir.DataType | None:
    """Return the type of a value; a mover of integers hands on its input's."""
    while value is not None and value.dtype is None:
        producer = value.producer()
        if producer is None or not producer.inputs:
            return None
        value = producer.inputs[2 if producer.op_type == "QuantizeLinear" else 0]
    return None if value is None else value.dtype


SOFTMAX = QForm("Softmax", (0,), y=3)
BINARY = (0, 3)

STANDARD_FORMS: dict[str, Callable[[Expansion], None]] = {
    "QLinearConv": QForm("Conv", BINARY, y=6, weighted=True, bias=8),
    "QLinearMatMul": QForm("MatMul", BINARY, y=6, weighted=True),
}
"""Of the standard domain."""

CONTRIB_FORMS: dict[str, Callable[[Expansion], None]] = {
    **STANDARD_FORMS,
    "QLinearAdd": QForm("Add", BINARY, y=6),
    "QLinearMul": QForm("Mul", BINARY, y=6),
    "QLinearAveragePool": QForm("AveragePool", (0,), y=3),
    "QLinearGlobalAveragePool": QForm("GlobalAveragePool", (0,), y=3),
    "QLinearLeakyRelu": QForm("LeakyRelu", (0,), y=3),
    "QLinearSigmoid": QForm("Sigmoid", (0,), y=3),
    "QLinearWhere": QForm("Where", (1, 4), y=7, plain=0),
    "QLinearConcat": concat,
    "QLinearSoftmax": softmax,
    "QGemm": gemm,
}
"""Of the domain com.microsoft."""
