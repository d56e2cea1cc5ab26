"""LayerNormalization and Softmax of floats, with the nodes around them that join in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from qcompile.graphs.qdq import node_grid
from qcompile.regions import constant, sole_user
from qcompile.targets.emitter import Array, Buffer, Emitter, plain_layout
from qcompile.targets.kernels.float_softmax import FloatSoftmax
from qcompile.targets.kernels.layer_norm import LayerNorm
from qcompile.targets.kernels.quotient import must_divide
from qcompile.targets.kernels.row_output import RowOutput
from qcompile.targets.kernels.view import View
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.floats import ROWS, row_shape, runs
from qcompile.targets.rules.operands import dtype_of, operand, optional, vector

EPSILON = 1e-5
"""What ONNX says where a LayerNormalization says nothing."""


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """What one kernel over rows computes.

    Attributes:
        node: The LayerNormalization or Softmax.
        mask: The Add before a Softmax, if its sum has no other reader.
        factor: The Mul by a number a channel between the node and `quantize`, if any.
        quantize: A QuantizeLinear that reads the node, if any.
        real: Whether the node's floats are wanted too.
    """

    node: ir.Node
    mask: ir.Node | None = None
    factor: ir.Node | None = None
    quantize: ir.Node | None = None
    real: bool = True

    @property
    def absorbed(self) -> tuple[ir.Node, ...]:
        """The nodes that need no kernel of their own."""
        others = (self.mask, self.factor, self.quantize)
        return tuple(node for node in others if node is not None)


def row_groups(
    graph: ir.Graph, emit: Emitter, kept: frozenset[ir.Value]
) -> Mapping[ir.Node, RowGroup]:
    """Return the group of every LayerNormalization and Softmax that has a kernel of ours.

    Args:
        graph: The integer graph.
        emit: Knows the layouts.
        kept: Values that must be there in the end.
    """
    return {
        node: _group(node, emit, kept) for node in graph if node.op_type in ROWS and runs(node)
    }


def _group(node: ir.Node, emit: Emitter, kept: frozenset[ir.Value]) -> RowGroup:
    y = node.outputs[0]
    mask = _mask(node, kept) if node.op_type == "Softmax" else None
    for user in dict.fromkeys(use.node for use in y.uses()):
        factor = user if _is_factor(user, y, kept) else None
        quantize = sole_user(user.outputs[0]) if factor is not None else user
        if quantize is None or not _quantizes_rows(quantize, node, emit):
            continue
        wanted = y in kept or y.is_graph_output() or len(list(y.uses())) > 1
        return RowGroup(node, mask, factor, quantize, wanted)
    return RowGroup(node, mask)


def _mask(softmax: ir.Node, kept: frozenset[ir.Value]) -> ir.Node | None:
    """Return the Add that gives the scores, where one side has their shape."""
    x = operand(softmax, 0)
    add = x.producer()
    if add is None or add.op_type != "Add" or x in kept or sole_user(x) is not softmax:
        return None
    shapes = [static_shape(operand(add, index)) for index in range(2)]
    return add if runs(add) and static_shape(x) in shapes else None


def _is_factor(node: ir.Node, y: ir.Value, kept: frozenset[ir.Value]) -> bool:
    """Whether a node multiplies y by a constant number a channel."""
    if node.op_type != "Mul" or node.inputs[0] is not y or node.outputs[0] in kept:
        return False
    numbers = constant(node.inputs[1])
    return numbers is not None and numbers.shape == static_shape(y)[-1:] and runs(node)


def _quantizes_rows(node: ir.Node, rows: ir.Node, emit: Emitter) -> bool:
    """Whether a node quantizes to 8 bits what then lies in rows, too."""
    if node.op_type != "QuantizeLinear" or node_grid(node) is None:
        return False
    q, shape = node.outputs[0], static_shape(rows.outputs[0])
    return row_shape(rows) == shape[-1:] and q in emit.layouts and not emit.layout(q).image


def emit_rows(group: RowGroup, emit: Emitter) -> None:
    """Emit the kernel of a group."""
    node, y = group.node, group.node.outputs[0]
    output, constants = _output(group, emit)
    arguments, template = (_softmax if node.op_type == "Softmax" else _layer_norm)(
        group, output, emit
    )
    parallel = emit.worth_threads(plain_layout(y).size)
    template = dataclasses.replace(template, lanes=emit.isa.lanes, parallel=parallel)
    q = group.quantize.outputs[0] if group.quantize is not None else None
    results = [value for value in (y if group.real else None, q) if value is not None]
    layouts = [emit.layout(value) for value in results]
    sizes = [
        (layout.size, value.dtype) for layout, value in zip(layouts, results, strict=True)
    ]
    buffers = emit.call_all(
        template, [*arguments, *constants], sizes, node=str(node.name or y.name)
    )
    for value, buffer, layout in zip(results, buffers, layouts, strict=True):
        emit.define(value, buffer, layout)


def _output(group: RowGroup, emit: Emitter) -> tuple[RowOutput, list[Array]]:
    """Return what is stored, and the constants that this takes."""
    if group.quantize is None:
        return RowOutput(), []
    q, grid = group.quantize.outputs[0], node_grid(group.quantize)
    assert grid is not None
    output = RowOutput(
        real=group.real,
        q=emit.layout(q),
        dtype=dtype_of(q),
        zero_point=grid.zero_point,
        divide=must_divide(grid.scale),
        factor=group.factor is not None,
    )
    factor = [vector(group.factor, 1)] if group.factor is not None else []
    return output, [*factor, vector(group.quantize, 1)]


def _layer_norm(
    group: RowGroup, output: RowOutput, emit: Emitter
) -> tuple[list[Buffer | Array], LayerNorm | FloatSoftmax]:
    node = group.node
    channels = math.prod(row_shape(node))
    template = LayerNorm(
        rows=plain_layout(node.outputs[0]).size // channels,
        channels=channels,
        epsilon=node.attributes.get_float("epsilon", EPSILON),
        bias=optional(node, 2) is not None,
        output=output,
    )
    return [emit.plain(value) for value in node.inputs if value is not None], template


def _softmax(
    group: RowGroup, output: RowOutput, emit: Emitter
) -> tuple[list[Buffer | Array], LayerNorm | FloatSoftmax]:
    node = group.node
    (channels,) = row_shape(node)
    rows = plain_layout(node.outputs[0]).size // channels
    template = FloatSoftmax(rows=rows, channels=channels, output=output)
    if group.mask is None:
        return [emit.plain(operand(node, 0))], template
    arguments, mask = _masked(group.mask, emit)
    return arguments, dataclasses.replace(template, mask=mask)


def _masked(add: ir.Node, emit: Emitter) -> tuple[list[Buffer | Array], View]:
    """Return the scores and the mask, and where the mask's elements lie."""
    shape = static_shape(add.outputs[0])
    scores, mask = (operand(add, index) for index in range(2))
    if static_shape(scores) != shape:
        scores, mask = mask, scores
    buffer, view = emit.where(mask)
    return [emit.plain(scores), buffer], view.broadcast_to(shape)


def emit_alone(node: ir.Node, emit: Emitter) -> None:
    """Emit a LayerNormalization or Softmax by itself."""
    emit_rows(RowGroup(node), emit)


RULES: dict[str, Callable[[ir.Node, Emitter], None]] = dict.fromkeys(ROWS, emit_alone)
