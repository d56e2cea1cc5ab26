"""Which nodes compute together: an operator with the bias, residual and activation it absorbs.

The float graph and the QDQ graph are cut by the same rule, so what is calibrated as one step
is folded as one step: between the nodes of a region no 8-bit value exists.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.slopes import slope_axes
from qcompile.unary import chain_function, unary_function

WEIGHTED_OPS = frozenset({"Conv", "Gemm", "MatMul"})
SUM_OPS = frozenset({"Add", "Sub"})
POOL_OPS = frozenset({"AveragePool", "GlobalAveragePool"})
REDUCE_OPS = frozenset({"ReduceMean", "ReduceSum"})
SHAPE_OPS = frozenset({"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"})
REPEAT_OPS = frozenset({"Expand", "Tile", "Gather"})
CHOICE_OPS = frozenset({"MaxPool", "ReduceMax", "ReduceMin", "Where"})
MOVE_OPS = (
    frozenset({"Concat", "Slice", "Pad", "Resize"}) | SHAPE_OPS | REPEAT_OPS | CHOICE_OPS
)
"""Operators that only move or choose integers, all of one scale; `Resize` if it is nearest."""

STANDARD_DOMAINS = ("", "ai.onnx")


class Role(enum.Enum):
    """What a node computes, once it computes in integers."""

    WEIGHTED = "a product with a constant weight"
    PRODUCT = "a matrix product of two activations"
    SUM = "a sum or difference of two tensors"
    MULTIPLY = "a product, element by element"
    POOL = "an average over windows"
    REDUCE = "a sum or an average over axes"
    INTERPOLATE = "a linear Resize"
    SOFTMAX = "a softmax"
    TABLE = "a function of one number"
    MOVE = "a choice of integers that are there already"


ARITHMETIC = frozenset(
    {
        Role.WEIGHTED,
        Role.PRODUCT,
        Role.SUM,
        Role.MULTIPLY,
        Role.POOL,
        Role.REDUCE,
        Role.INTERPOLATE,
    }
)
"""Roles that can give a float answer straight from their accumulator."""

ROLES = {
    **dict.fromkeys(WEIGHTED_OPS, Role.WEIGHTED),
    **dict.fromkeys(SUM_OPS, Role.SUM),
    "Mul": Role.MULTIPLY,
    **dict.fromkeys(POOL_OPS, Role.POOL),
    **dict.fromkeys(REDUCE_OPS, Role.REDUCE),
    "Softmax": Role.SOFTMAX,
    "PRelu": Role.TABLE,
    **dict.fromkeys(MOVE_OPS, Role.MOVE),
}
"""By operator, where the operator alone decides; `role` knows the rest."""

KeepFloat = Callable[[ir.Node], str | None]
"""Why a node must stay float, or None where it may become integers."""


def role(node: ir.Node) -> Role | None:
    """Return what a node is to integers, or None where it has no integer form."""
    if node.domain not in STANDARD_DOMAINS:
        return None
    found = ROLES.get(node.op_type)
    twice = found in (Role.SUM, Role.MULTIPLY) and node.inputs[0] is node.inputs[1]
    if not twice and unary_function(node) is not None:
        return Role.TABLE
    if node.op_type == "PRelu" and not _is_table(node):
        return None
    if node.op_type == "MatMul" and not is_constant(node.inputs[1]):
        return Role.PRODUCT
    if node.op_type == "Resize" and node.attributes.get_string("mode", "nearest") != "nearest":
        return Role.INTERPOLATE
    return found


def is_arithmetic(node: ir.Node) -> bool:
    """Whether a node can give a float answer straight from its accumulator."""
    return role(node) in ARITHMETIC


def is_weighted(node: ir.Node) -> bool:
    """Whether a node multiplies an activation by a constant weight."""
    return role(node) is Role.WEIGHTED


def is_move(node: ir.Node) -> bool:
    """Whether a node only moves or chooses integers."""
    return role(node) is Role.MOVE


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

    @property
    def is_current(self) -> bool:
        """Whether its nodes still read what they read when the graph was cut."""
        read = {value for node in self.nodes for value in node.inputs}
        return read.issuperset(self.activations)


def find_regions(graph: ir.Graph, keep_float: KeepFloat) -> list[Region]:
    """Cut the graph into regions, in the order of their anchors; the rest stays float."""
    order = {node: position for position, node in enumerate(graph)}
    taken: set[ir.Node] = set()
    regions = []
    for node in graph:
        if node in taken or role(node) is None:
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


def data_uses(node: ir.Node) -> tuple[tuple[int, ir.Value], ...]:
    """Return the inputs that are data, constants or not, by index.

    Both of an Add, all of a Concat; of a Where not the condition, of a Gather not the indices.
    """
    found = role(node)
    indices = range(1)
    if node.op_type == "Concat" or found in (Role.SUM, Role.MULTIPLY, Role.PRODUCT):
        indices = range(len(node.inputs))
    elif node.op_type == "Where":
        indices = range(1, 3)
    elif found is Role.TABLE:
        data = [at for at, value in enumerate(node.inputs) if not is_constant(value)]
        indices = range(data[0], data[0] + 1) if data else range(0)
    inputs = [(at, node.inputs[at]) for at in indices if at < len(node.inputs)]
    return tuple((at, value) for at, value in inputs if value is not None)


def data_inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """Return the inputs that are data (see `data_uses`)."""
    return tuple(value for _, value in data_uses(node))


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

    if role(anchor) is Role.WEIGHTED:
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
    if role(anchor) is Role.TABLE:
        nodes += _composed(anchor, keep_float)
    if is_arithmetic(anchor):
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


def _is_table(prelu: ir.Node) -> bool:
    """Whether a PRelu's slope is a constant, of one number or one for each channel."""
    axes = slope_axes(prelu)
    x, slope = prelu.inputs
    return axes is not None and len(axes) <= 1 and is_constant(slope) and not is_constant(x)


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
    if rival is None or producer is None or not is_weighted(rival):
        return other
    later = order.get(rival, -1) > order[producer]
    rival_wins = later and sole_user(other) is add and keep_float(rival) is None
    return None if rival_wins else other


def _composed(anchor: ir.Node, keep_float: KeepFloat) -> Iterator[ir.Node]:
    """Yield the nodes after a function of x that with it are one function of x still.

    So a Silu, Gelu or HardSwish that an exporter wrote as several nodes, x among their
    operands more than once, is one table. A function of constants alone has no x.
    """
    data = data_inputs(anchor)
    if len(data) != 1:
        return
    x, nodes = data[0], [anchor]
    while True:
        users = {use.node for use in nodes[-1].outputs[0].uses()}
        user = next(iter(users)) if len(users) == 1 else None
        if (
            user is None
            or user.graph is not anchor.graph
            or nodes[-1].outputs[0].is_graph_output()
        ):
            return
        if keep_float(user) is not None or chain_function([*nodes, user], x) is None:
            return
        nodes.append(user)
        yield user
