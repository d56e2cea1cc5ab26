"""QAdd, QMul, QLut and Where: operators that treat elements alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from qcompile import ops
from qcompile.regions import sole_user
from qcompile.targets.emitter import Emitter, zero_point_of
from qcompile.targets.kernels.add import Add
from qcompile.targets.kernels.lookup import Lookup
from qcompile.targets.kernels.mul import Mul
from qcompile.targets.kernels.pairwise import Pairwise, Step
from qcompile.targets.kernels.view import View, align_all
from qcompile.targets.kernels.where import Where
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.operands import WIDEST, dtype_of, epilogue_of, operand, vector

STEPS: dict[str, type[Step]] = {ops.QADD: Add, ops.QMUL: Mul}

MOST_INPUTS = 4
"""Tensors that a chain reads at most: their vectors stay in registers."""


def emit_pairwise(node: ir.Node, emit: Emitter) -> None:
    """Emit a QAdd or QMul; either side may be broadcast. Chains of them are one kernel."""
    y = node.outputs[0]
    if joins_next(node, emit):
        emit.defer(y, y, emit.view(y), lambda: _emit_chain(node, emit))
    else:
        _emit_chain(node, emit)


def joins_next(node: ir.Node, emit: Emitter) -> bool:
    """Whether the only reader of a QAdd's or QMul's output computes it on its way."""
    return _joined_inputs(node, emit) > 0


def _joined_inputs(node: ir.Node, emit: Emitter) -> int:
    """Return how many tensors a chain reads whose last node joins its reader; 0 for none.

    Nodes are asked for in the order of the graph, and each is answered once.
    """
    if node not in emit.chained:
        emit.chained[node] = _count(node, emit)
    return emit.chained[node]


def _count(node: ir.Node, emit: Emitter) -> int:
    user = _next(node)
    if user is None:
        return 0
    producers = [operand(node, index).producer() for index in range(2)]
    inputs = sum((before and _joined_inputs(before, emit)) or 1 for before in producers)
    others = [operand(user, index).producer() for index in range(2)]
    first = next(other for other in others if other and _next(other) is user)
    return inputs if inputs < MOST_INPUTS and first is node else 0


def _next(node: ir.Node) -> ir.Node | None:
    """Return the QAdd or QMul of the same shape that alone reads what one gives."""
    y = node.outputs[0]
    user = sole_user(y) if node.op_type in STEPS else None
    if user is None or user.op_type not in STEPS:
        return None
    return user if static_shape(user.outputs[0]) == static_shape(y) else None


def _joined(value: ir.Value, emit: Emitter) -> ir.Node | None:
    """Return the node that gives a value, where its reader computes it."""
    node = value.producer()
    return node if node is not None and joins_next(node, emit) else None


def _emit_chain(node: ir.Node, emit: Emitter) -> None:
    """Emit the kernel of a chain that ends with a node."""
    y = node.outputs[0]
    chain, values = _chain(node, emit)
    numbers = {value: index for index, value in enumerate(values)}
    numbers |= {each.outputs[0]: len(values) + i for i, each in enumerate(chain)}
    places = [emit.where(value) for value in values]
    views = common(values, [view for _, view in places], y, emit)
    if views is None:
        places = [(emit.buffer(value), emit.view(value)) for value in values]
        views = common(values, [view for _, view in places], y, emit)
    assert views is not None
    *inputs, target = views
    factors = [vector(each, index) for each in chain for index in range(2, len(each.inputs))]
    template = Pairwise(
        inputs=tuple(inputs),
        dtypes=tuple(dtype_of(value) for value in values),
        steps=tuple(_step(each, numbers) for each in chain),
        y=target,
        isa=emit.isa,
        parallel=emit.worth_threads(target.layout.size, *(buffer for buffer, _ in places)),
    )
    layout = emit.layout(y)
    buffer = emit.call(
        template,
        [*(buffer for buffer, _ in places), *factors],
        size=layout.size,
        dtype=y.dtype,
        node=", ".join(str(each.name or each.outputs[0].name) for each in chain),
    )
    emit.define(y, buffer, layout)


def _chain(node: ir.Node, emit: Emitter) -> tuple[list[ir.Node], list[ir.Value]]:
    """Return the nodes of a chain, the given one last, and what it reads."""
    nodes: list[ir.Node] = []
    values: list[ir.Value] = []
    for index in range(2):
        value = operand(node, index)
        before = _joined(value, emit)
        earlier, read = _chain(before, emit) if before is not None else ([], [value])
        nodes += [each for each in earlier if each not in nodes]
        values += [each for each in read if each not in values]
    return [*nodes, node], values


def _step(node: ir.Node, numbers: Mapping[ir.Value, int]) -> Step:
    factors = [float(abs(vector(node, index)[0])) for index in range(2, len(node.inputs))]
    most = WIDEST * sum(factors) if node.op_type == ops.QADD else WIDEST**2 * factors[0]
    return STEPS[node.op_type](
        a=numbers[operand(node, 0)],
        b=numbers[operand(node, 1)],
        a_zero_point=node.attributes["a_zero_point"].as_int(),
        b_zero_point=node.attributes["b_zero_point"].as_int(),
        epilogue=epilogue_of(node, most),
    )


def common(
    values: Sequence[ir.Value], views: Sequence[View], y: ir.Value, emit: Emitter
) -> list[View] | None:
    """Return where values lie and where y goes, all of one shape; None where none is.

    A view of another shape than its value's holds the value's elements in row-major order.
    """
    target = emit.view(y)
    found: list[View] = []
    for value, view in zip(values, views, strict=True):
        if view.shape == static_shape(value):
            found.append(view.broadcast_to(target.shape))
        elif static_shape(value) == target.shape:
            found.append(view)
        else:
            return None
    every = [*found, target]
    alike = all(view.shape == target.shape for view in found)
    return every if alike else align_all(every)


def emit_where(node: ir.Node, emit: Emitter) -> None:
    """Emit a Where of integers; the condition is a constant or computed."""
    condition, a, b = (operand(node, index) for index in range(3))
    y = node.outputs[0]
    target = emit.view(y)
    template = Where(
        condition=emit.view(condition),
        a=emit.view(a),
        b=emit.view(b),
        y=target,
        dtype=dtype_of(y),
        zero_point=zero_point_of(y),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(target.layout.size),
    )
    emit.produce(node, template, [emit.buffer(value) for value in (condition, a, b)])


def emit_lookup(node: ir.Node, emit: Emitter) -> None:
    """Emit a QLut."""
    x, y = operand(node, 0), node.outputs[0]
    buffer, view = emit.where(x)
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else None
    template = Lookup(
        x=view,
        y=emit.view(y),
        x_dtype=dtype_of(x),
        y_dtype=dtype_of(y),
        zero_point=zero_point_of(y),
        axis=None if axis is None else axis % len(static_shape(x)),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(emit.layout(y).size, buffer),
    )
    template = template.on(emit.isa) or template
    emit.produce(node, template, [buffer, vector(node, 1)])


RULES = {
    ops.QADD: emit_pairwise,
    ops.QMUL: emit_pairwise,
    ops.QLUT: emit_lookup,
    "Where": emit_where,
}
