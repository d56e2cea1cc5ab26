"""Put an 8-bit step between each weighted operator and the residual Add that follows it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qcompile.regions import constant, is_weighted, sole_user

ZERO_POINTS = {"uint8": (0, 128), "int8": (-128, 0)}
"""The lowest and the middle zero point of each type."""

PASSING = frozenset({"Relu", "Clip"})
"""What may stand between an Add and the step of the sum."""


def with_sum_steps(model: ir.Model) -> ir.Model:
    """Return a copy of a QDQ graph where every `Conv -> Add` is `Conv -> Q -> DQ -> Add`.

    The step takes the parameters of the sum, q = rint(y / s) + z. Where an activation made
    the sum one-sided (z is the lowest integer), the negative half that a summand still has
    is given room: z in the middle and twice the scale. The copy is for measuring speed, not
    for its answers.

    Kept: a sum whose own step is not there, since its parameters are unknown.
    """
    copy = model.clone()
    for node in list(copy.graph):
        step = sum_step(node)
        if step is not None:
            insert_step(copy.graph, node.outputs[0], step)
    return copy


def sum_step(node: ir.Node) -> ir.Node | None:
    """Return the QuantizeLinear of the sum that this weighted operator feeds, if any."""
    if not is_weighted(node):
        return None
    user = sole_user(node.outputs[0])
    if user is None or user.op_type != "Add":
        return None
    while user is not None and user.op_type in PASSING | {"Add"}:
        user = sole_user(user.outputs[0])
    return user if user is not None and user.op_type == "QuantizeLinear" else None


def insert_step(graph: ir.Graph, value: ir.Value, step: ir.Node) -> None:
    """Insert a QuantizeLinear and a DequantizeLinear between a value and its readers."""
    scale, zero_point = constant(step.inputs[1]), constant(step.inputs[2])
    if scale is None or zero_point is None:
        return
    lowest, middle = ZERO_POINTS[zero_point.dtype.name]
    if int(zero_point) == lowest:
        scale = scale.astype(np.float32) * 2
        zero_point = np.asarray(middle, zero_point.dtype)
    parameters = []
    for suffix, array in (("scale", scale), ("zero_point", zero_point)):
        tensor = ir.tensor(array, name=f"{value.name}_sum_{suffix}")
        parameters.append(ir.Value(name=tensor.name, const_value=tensor))
        graph.initializers.add(parameters[-1])
    quantize = ir.node("QuantizeLinear", [value, *parameters])
    dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], *parameters])
    quantize.outputs[0].name = f"{value.name}_sum_quantized"
    dequantize.outputs[0].name = f"{value.name}_sum_dequantized"
    producer = value.producer()
    assert producer is not None
    readers = [(use.node, use.idx) for use in value.uses() if use.node is not quantize]
    graph.insert_after(producer, [quantize, dequantize])
    for reader, index in readers:
        reader.replace_input_with(index, dequantize.outputs[0])
