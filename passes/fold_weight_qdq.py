"""Bring constants behind a DequantizeLinear into one form: the integers themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.qdq import BYTES, along, qdq_parameters, real_constant
from qcompile.graphs.rewriting import Names, take_over
from qcompile.numerics import quantize
from qcompile.regions import constant


@dataclasses.dataclass(frozen=True)
class FoldWeightQdq(ir.passes.InPlacePass):
    """Compute what is done to a weight between its float form and its operator.

    QuantizeLinear(W, s, z) = the integers     Transpose(DQ(W, s, z)) = DQ(W^T, s, z)
    Pad(x, pads, DQ(c, s, z)) = Pad(x, pads, (c - z) * s)

    Training tools write weights as float with a Q/DQ pair, and Linear layers with a Transpose
    behind the pair; onnxruntime quantizes what a Pad fills in. Kept: a result that is a graph
    output.

    Example:
        before:
            g (float[1,2] x) => (float[1,3] y)
            <int8[3,2] w = {1, 2, 3, 4, 5, 6}, float[3] s = {0.5, 0.25, 1}>
            { d = DequantizeLinear <axis = 0> (w, s)  t = Transpose (d)  y = MatMul (x, t) }
        after:
            g (float[1,2] x) => (float[1,3] y)
            <int8[2,3] w = {1, 3, 5, 2, 4, 6}, float[3] s = {0.5, 0.25, 1}>
            { d = DequantizeLinear <axis = 1> (w, s)  y = MatMul (x, d) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any constant was computed."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.op_type == "Pad":
                modified |= _fill_with_number(node, names)
            elif node.outputs[0].is_graph_output():
                continue
            elif node.op_type == "QuantizeLinear":
                modified |= _quantize_constant(node, names)
            elif node.op_type == "Transpose":
                modified |= _transpose_constant(node, names)
        return ir.passes.PassResult(model, modified)


def _quantize_constant(node: ir.Node, names: Names) -> bool:
    x, parameters = real_constant(node.inputs[0]), qdq_parameters(node)
    if x is None or parameters is None:
        return False
    scale, zero_point, dtype = parameters
    if dtype not in BYTES:
        return False
    axis, graph, output = node.attributes.get_int("axis", 1), node.graph, node.outputs[0]
    assert graph is not None
    integers = quantize(
        x, along(scale, axis, x.ndim), along(zero_point, axis, x.ndim).astype(np.int64), dtype
    )
    output.replace_all_uses_with(names.initializer(graph, f"{output.name}_const", integers))
    graph.remove(node, safe=True)
    return True


def _transpose_constant(node: ir.Node, names: Names) -> bool:
    pair = node.inputs[0].producer() if node.inputs[0] is not None else None
    parameters, graph = qdq_parameters(pair), node.graph
    if pair is None or pair.op_type != "DequantizeLinear" or parameters is None:
        return False
    integers = constant(pair.inputs[0])
    if integers is None or graph is None:
        return False
    perm = node.attributes.get_ints("perm", tuple(reversed(range(integers.ndim))))
    output = node.outputs[0]
    weight = names.initializer(graph, f"{output.name}_weight", np.transpose(integers, perm))
    attributes = {}
    if parameters[0].size > 1:
        attributes["axis"] = list(perm).index(pair.attributes.get_int("axis", 1) % len(perm))
    moved = names.node(
        "DequantizeLinear",
        [weight, *pair.inputs[1:]],
        attributes,
        name=f"{pair.name or output.name}_transposed",
        like=output,
    )
    moved.outputs[0].dtype = ir.DataType.FLOAT
    graph.insert_before(node, moved)
    take_over(output, moved.outputs[0])
    graph.remove(node, safe=True)
    return True


def _fill_with_number(node: ir.Node, names: Names) -> bool:
    filler = node.inputs[2] if len(node.inputs) > 2 else None
    number = real_constant(filler)
    if filler is None or number is None or constant(filler) is not None or node.graph is None:
        return False
    name = f"{node.outputs[0].name}_filler"
    node.replace_input_with(2, names.initializer(node.graph, name, number.astype(np.float32)))
    return True
