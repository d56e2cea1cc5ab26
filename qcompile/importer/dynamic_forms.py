"""Dynamic quantization in one node: written out in standard operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qcompile.graphs.rewriting import take_over
from qcompile.importer.expansion import Array, Expansion
from qcompile.importer.nbits import dequantized


def dynamic_quantize_matmul(expansion: Expansion) -> None:
    """DynamicQuantizeMatMul(A, B, s_b, z_b, bias) quantizes A by its own range first.

    q, s_a, z_a = DynamicQuantizeLinear(A)
    y = float(MatMulInteger(q, B, z_a, z_b)) * (s_a * s_b) + bias
    """
    quantized, scale, zero_point = _dynamic_quantize(expansion, expansion.needed(0))
    y = _matmul_to_float(
        expansion,
        [quantized, expansion.needed(1), zero_point, expansion.input(3)],
        scale,
        expansion.needed(2),
        expansion.input(4),
    )
    expansion.finish(y)


def matmul_integer_to_float(expansion: Expansion) -> None:
    """MatMulIntegerToFloat(A, B, s_a, s_b, z_a, z_b, bias) on integers that are there.

    y = float(MatMulInteger(A, B, z_a, z_b)) * (s_a * s_b) + bias
    """
    y = _matmul_to_float(
        expansion,
        [expansion.needed(0), expansion.needed(1), expansion.input(4), expansion.input(5)],
        expansion.needed(2),
        expansion.needed(3),
        expansion.input(6),
    )
    expansion.finish(y)


def conv_integer(expansion: Expansion) -> None:
    """ConvInteger(x, w, z_x, z_w) = int32(Conv(float(x) - float(z_x), float(w - z_w))).

    The products are integers below 2**16, and float32 holds every integer up to 2**24: the
    sum is exact as long as its parts stay below that, which 256 products always do. Beyond,
    it has the relative error of a float32 sum, 2**-24 a step. The step through int32 is left
    out where all that follows is a Cast to float.
    """
    weight = expansion.number(1, "its weight").astype(np.int32)
    if expansion.input(3) is not None:
        zero_point = expansion.number(3, "its weight's zero point").astype(np.int32)
        shape = [-1] + [1] * (weight.ndim - 1)
        weight = weight - (zero_point.reshape(shape) if zero_point.size > 1 else zero_point)
    x = _to_float(expansion, expansion.needed(0), "x")
    if expansion.input(2) is not None:
        shift = _to_float(expansion, expansion.needed(2), "zero_point")
        x = expansion.emit("Sub", [x, shift], label="centred")
    w = expansion.constant("weight", weight.astype(np.float32))
    y = expansion.emit("Conv", [x, w], dict(expansion.node.attributes))
    output = expansion.node.outputs[0]
    casts = [use.node for use in output.uses() if _casts_to_float(use.node)]
    if output.is_graph_output() or len(casts) < len(output.uses()):
        expansion.finish(expansion.emit("Cast", [y], {"to": ir.DataType.INT32}, label="sum"))
        return
    for cast in casts:
        cast.outputs[0].replace_all_uses_with(y)
        assert cast.graph is not None
        cast.graph.remove(cast, safe=True)
    assert expansion.node.graph is not None
    expansion.node.graph.remove(expansion.node, safe=True)


def dynamic_quantize_lstm(expansion: Expansion) -> None:
    """DynamicQuantizeLSTM(X, W, R, ...) = LSTM(X, (W^T - z_W) * s_W, (R^T - z_R) * s_R, ...).

    The weights are the file's own, as float32; its input and state stay float, which the
    file would round to 8 bits in every step. So the answers are nearer to the float model's
    than onnxruntime's, and not the same.
    """
    w = expansion.constant("W", _gates(expansion, 1, 8))
    r = expansion.constant("R", _gates(expansion, 2, 10))
    rest = [expansion.input(index) for index in range(3, 8)]
    while rest and rest[-1] is None:
        rest.pop()
    attributes = dict(expansion.node.attributes)
    count = len(expansion.node.outputs)
    first = expansion.emit("LSTM", [expansion.needed(0), w, r, *rest], attributes)
    made = first.producer()
    assert made is not None
    made.resize_outputs(count)
    for old, new in zip(expansion.node.outputs[1:], made.outputs[1:], strict=True):
        take_over(old, new)
    expansion.finish(first)


def _gates(expansion: Expansion, index: int, scale_index: int) -> Array:
    """Return a weight [directions, inputs, 4 * hidden] with the last two swapped."""
    integers = expansion.number(index, "its weight")
    shape = (len(integers), 1, -1)
    scale = expansion.number(scale_index, "its scale").reshape(shape)
    zero_point = expansion.number(scale_index + 1, "its zero point").reshape(shape)
    return np.ascontiguousarray(dequantized(integers, scale, zero_point).swapaxes(1, 2))


def _matmul_to_float(
    expansion: Expansion,
    factors: list[ir.Value | None],
    a_scale: ir.Value,
    b_scale: ir.Value,
    bias: ir.Value | None,
) -> ir.Value:
    """Return the standard form of an integer product with a float answer."""
    while factors[-1] is None:
        factors = factors[:-1]
    total = expansion.emit("MatMulInteger", factors)
    real = expansion.emit("Cast", [total], {"to": ir.DataType.FLOAT}, label="float")
    scale = expansion.emit("Mul", [a_scale, b_scale], label="scale")
    y = expansion.emit("Mul", [real, scale], label="scaled")
    return y if bias is None else expansion.emit("Add", [y, bias], label="bias")


def _dynamic_quantize(
    expansion: Expansion, x: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return the integers of x, their scale and their zero point; one node for each x."""
    graph = expansion.node.graph
    assert graph is not None
    for node in graph:
        if node is expansion.node:
            break
        if node.op_type == "DynamicQuantizeLinear" and node.inputs[0] is x:
            integers, scale, zero_point = node.outputs
            return integers, scale, zero_point
    quantized = expansion.emit("DynamicQuantizeLinear", [x], label="q")
    made = quantized.producer()
    assert made is not None
    made.resize_outputs(3)
    for value, label in zip(made.outputs[1:], ("q_scale", "q_zero_point"), strict=True):
        value.name = expansion.names.unique(f"{expansion.node.name}_{label}")
    return quantized, made.outputs[1], made.outputs[2]


def _to_float(expansion: Expansion, value: ir.Value, label: str) -> ir.Value:
    return expansion.emit("Cast", [value], {"to": ir.DataType.FLOAT}, label=f"{label}_float")


def _casts_to_float(node: ir.Node) -> bool:
    to_float = node.op_type == "Cast" and node.attributes.get_int("to") == ir.DataType.FLOAT
    return to_float and not node.outputs[0].is_graph_output()
