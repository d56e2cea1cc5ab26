"""Which nodes compute together: an operator with the bias, residual and activation it absorbs.

The float graph and the QDQ graph are cut by the same rule, so what is calibrated as one step
is folded as one step: between the nodes of a region no 8-bit value exists.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.unary import UNARY_OPS

WEIGHTED_OPS = frozenset({"Conv", "Gemm", "MatMul"})
ADD_OPS = frozenset({"Add"})
POOL_OPS = frozenset({"AveragePool", "GlobalAveragePool"})
SOFTMAX_OPS = frozenset({"Softmax"})
SHAPE_OPS = frozenset({"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"})
MOVE_OPS = frozenset({"MaxPool", "Concat", "Slice", "Pad"}) | SHAPE_OPS
ARITHMETIC_OPS = WEIGHTED_OPS | ADD_OPS | POOL_OPS
"""Operators that can give a float answer straight from their accumulator."""

KeepFloat = Callable[[ir.Node], str | None]
"""Why a node must stay float, or None where it may become integers."""


@dataclasses.dataclass(frozen=True)
class Region:
    """One step of integer arithmetic.

    Attributes:
        anchor: The node that names the step.
        nodes: The anchor and what it absorbed, in order.
        inputs: The activations it reads: the anchor's, without constants.
        bias: A constant that a following Add brought, if any (not a Conv's own third input).
        residual: The activation that a following Add brought, if any.
        low: Lower bound of the absorbed activation, -inf if none.
        high: Upper bound of the absorbed activation, inf if none.
        output: The value that leaves the region.
    """

    anchor: ir.Node
    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    bias: ir.Value | None
    residual: ir.Value | None
    low: float
    high: float
    output: ir.Value

    @property
    def activations(self) -> tuple[ir.Value, ...]:
        """The inputs and the residual."""
        return self.inputs if self.residual is None else (*self.inputs, self.residual)


def find_regions(graph: ir.Graph, keep_float: KeepFloat) -> list[Region]:
    """Cut the graph into regions, in the order of their anchors; the rest stays float."""
    order = {node: position for position, node in enumerate(graph)}
    taken: set[ir.Node] = set()
    regions = []
    for node in graph:
        if node in taken or node.op_type not in ROLES or node.domain not in ("", "ai.onnx"):
            continue
        if keep_float(node) is not None or is_constant(node.outputs[0]):
            continue
        region = _grow(node, order, lambda n: "taken" if n in taken else keep_float(n))
        taken.update(region.nodes)
        regions.append(region)
    return regions


def constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    """Return the array of an initializer, or None where the value is computed or an input."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is a constant, possibly behind a DequantizeLinear."""
    if value is None:
        return False
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        value = producer.inputs[0]
    return constant(value) is not None


def sole_user(value: ir.Value) -> ir.Node | None:
    """Return the only node that reads a value: one node of the same graph, reading it once."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output() or uses[0].node.graph is not value.graph:
        return None
    return uses[0].node


def activation_bounds(node: ir.Node) -> tuple[float, float] | None:
    """Return (low, high) of a Relu or of a Clip with constant bounds."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    if node.op_type != "Clip":
        return None
    bounds = [-math.inf, math.inf]
    for index, value in enumerate(node.inputs[1:]):
        if value is None:
            continue
        array = constant(value)
        if array is None or array.size != 1:
            return None
        bounds[index] = float(array.reshape(()))
    return bounds[0], bounds[1]


def data_inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """Return the inputs that are data, constants or not: every one of Concat and Add."""
    every = node.op_type in ADD_OPS or node.op_type == "Concat"
    inputs = node.inputs if every else node.inputs[:1]
    return tuple(value for value in inputs if value is not None)


def _grow(anchor: ir.Node, order: dict[ir.Node, int], keep_float: KeepFloat) -> Region:
    """Return the region of an anchor; `keep_float` names what it must not absorb.

    A bias is no step of its own, whatever the target says of Add: only the anchor is asked.
    """
    nodes = [anchor]
    bias = residual = None
    low, high = -math.inf, math.inf

    def follower() -> ir.Node | None:
        node = sole_user(nodes[-1].outputs[0])
        return node if node is not None and keep_float(node) is None else None

    if anchor.op_type in WEIGHTED_OPS:
        node = sole_user(nodes[-1].outputs[0])
        if node is not None and not _has_bias(anchor):
            bias = _channel_bias(node, nodes[-1].outputs[0])
            if bias is not None:
                nodes.append(node)
        node = follower()
        if node is not None:
            residual = _residual(node, nodes[-1].outputs[0], order, keep_float)
            if residual is not None:
                nodes.append(node)
    if anchor.op_type in ARITHMETIC_OPS:
        node = follower()
        bounds = activation_bounds(node) if node is not None else None
        if node is not None and bounds is not None:
            nodes.append(node)
            low, high = bounds
    return Region(
        anchor=anchor,
        nodes=tuple(nodes),
        inputs=tuple(value for value in data_inputs(anchor) if not is_constant(value)),
        bias=bias,
        residual=residual,
        low=low,
        high=high,
        output=nodes[-1].outputs[0],
    )


def _has_bias(node: ir.Node) -> bool:
    return len(node.inputs) > 2 and node.inputs[2] is not None


def _channel_bias(add: ir.Node, value: ir.Value) -> ir.Value | None:
    """Return the constant of `add` if it is one number an output channel of `value`."""
    if add.op_type != "Add" or value.shape is None:
        return None
    other = add.inputs[1] if add.inputs[0] is value else add.inputs[0]
    if other is None or not is_constant(other) or other.shape is None:
        return None
    producer = value.producer()
    axis = 1 if producer is not None and producer.op_type == "Conv" else len(value.shape) - 1
    shape = [1] * (len(value.shape) - len(other.shape)) + list(other.shape)
    if len(shape) != len(value.shape):
        return None
    flat = all(size == 1 for position, size in enumerate(shape) if position != axis)
    return other if flat and shape[axis] in (1, value.shape[axis]) else None


def _residual(
    add: ir.Node, value: ir.Value, order: dict[ir.Node, int], keep_float: KeepFloat
) -> ir.Value | None:
    """Return the other summand of `add`, where this side is the one that absorbs it.

    Of two convolutions that meet in an Add the later absorbs it: its sum is still in the
    accumulator when the earlier one is long in memory.
    """
    if add.op_type != "Add":
        return None
    other = add.inputs[1] if add.inputs[0] is value else add.inputs[0]
    if other is None or other is value or is_constant(other):
        return None
    if value.shape is None or other.shape != value.shape:
        return None
    rival, producer = other.producer(), value.producer()
    if rival is None or producer is None or rival.op_type not in WEIGHTED_OPS:
        return other
    later = order.get(rival, -1) > order[producer]
    rival_wins = later and sole_user(other) is add and keep_float(rival) is None
    return None if rival_wins else other


ROLES = ARITHMETIC_OPS | SOFTMAX_OPS | MOVE_OPS | UNARY_OPS
