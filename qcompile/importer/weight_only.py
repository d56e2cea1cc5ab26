"""Weights that are stored as integers for their size only: real numbers at import."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qcompile.graphs.qdq import BYTES, along, qdq_parameters
from qcompile.graphs.rewriting import Names
from qcompile.importer.expansion import Array
from qcompile.importer.nbits import dequantized, spread
from qcompile.numerics import quantize
from qcompile.regions import constant

WIDENED = {
    "INT2": ir.DataType.INT8,
    "INT4": ir.DataType.INT8,
    "UINT2": ir.DataType.UINT8,
    "UINT4": ir.DataType.UINT8,
}
"""By name: older versions of onnx_ir lack some of them."""

BORDERS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def dequantize_weights(model: ir.Model) -> bool:
    """Compute DequantizeLinear of constants, in place, and return whether there was any.

    A model whose activations are not quantized is a float model: every weight becomes
    float32(q - z) * s, and so does one that is float between a pair. Where activations are
    quantized the weights stay integers; those of 2 and 4 bits become 8 bits wide with the
    same scales, and those with a scale for each block of a channel become float.
    Kept: a result that is a graph output.
    """
    names, modified = Names(model), False
    step = _widen if has_quantized_activations(model) else _dequantize
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.op_type in BORDERS and not node.outputs[0].is_graph_output():
            modified |= step(node, names)
    return modified


def has_quantized_activations(model: ir.Model) -> bool:
    """Whether an activation is quantized, or the graph takes one that is."""
    constants: set[ir.Value | None] = set()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        value = node.inputs[0] if node.op_type in BORDERS else None
        if value is None:
            continue
        if constant(value) is not None or value in constants:
            constants.update(node.outputs)
        elif node.op_type == "QuantizeLinear" or value.is_graph_input():
            return True
    return False


def _widen(node: ir.Node, names: Names) -> bool:
    """Make what kernels of 8 bits take of a narrow or blocked weight."""
    weight = node.inputs[0]
    integers = constant(weight)
    if node.op_type != "DequantizeLinear" or weight is None or integers is None:
        return False
    if node.attributes.get_int("block_size", 0):
        return _dequantize(node, names)
    wide = WIDENED.get(weight.dtype.name) if weight.dtype is not None else None
    if wide is None or node.graph is None:
        return False
    stored = integers.astype(wide.numpy())
    node.replace_input_with(0, names.initializer(node.graph, f"{weight.name}_wide", stored))
    zero_point = _parameter(node, 2)
    if zero_point is not None:
        name = f"{weight.name}_zero_point_wide"
        wider = zero_point.astype(wide.numpy())
        node.replace_input_with(2, names.initializer(node.graph, name, wider))
    return True


def _dequantize(node: ir.Node, names: Names) -> bool:
    """Compute a Q or a DQ whose inputs are constant."""
    x, output = constant(node.inputs[0]), node.outputs[0]
    if x is None or node.graph is None:
        return False
    block = node.attributes.get_int("block_size", 0)
    result = _blocked(node, x, block) if block else _plain(node, x)
    if result is None:
        return False
    new = names.initializer(node.graph, f"{output.name}_const", result)
    output.replace_all_uses_with(new)
    node.graph.remove(node, safe=True)
    return True


def _plain(node: ir.Node, x: Array) -> Array | None:
    """Return the result for one scale, or one a channel."""
    parameters = qdq_parameters(node)
    if parameters is None:
        return None
    scale, zero_point, dtype = parameters
    axis = node.attributes.get_int("axis", 1)
    if scale.size > 1 and not -x.ndim <= axis < x.ndim:
        return None
    placed = along(scale, axis, x.ndim), along(zero_point, axis, x.ndim)
    if node.op_type == "DequantizeLinear":
        return dequantized(x, *placed)
    if dtype not in BYTES:
        return None
    return quantize(x, placed[0], placed[1].astype(np.int64), dtype)


def _blocked(node: ir.Node, x: Array, block: int) -> Array | None:
    """Return the real numbers of a weight with one scale for each block of a channel."""
    scale, zero_point = _parameter(node, 1), _parameter(node, 2)
    left_out = len(node.inputs) < 3 or node.inputs[2] is None
    if node.op_type != "DequantizeLinear" or scale is None:
        return None
    if zero_point is None and not left_out:
        return None
    axis = node.attributes.get_int("axis", 1) % x.ndim
    shift = np.zeros(scale.shape) if zero_point is None else zero_point
    size = x.shape[axis]
    return dequantized(x, spread(scale, block, axis, size), spread(shift, block, axis, size))


def _parameter(node: ir.Node, index: int) -> Array | None:
    return constant(node.inputs[index]) if index < len(node.inputs) else None
