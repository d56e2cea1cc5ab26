"""QAdd, QMul, QLut and Where: operators that treat elements alike."""

from __future__ import annotations

import onnx_ir as ir

from qcompile import ops
from qcompile.targets.emitter import Emitter, zero_point_of
from qcompile.targets.kernels.add import Add
from qcompile.targets.kernels.lookup import Lookup
from qcompile.targets.kernels.mul import Mul
from qcompile.targets.kernels.pairwise import Pairwise
from qcompile.targets.kernels.where import Where
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.operands import dtype_of, epilogue_of, operand, vector

PAIRWISE: dict[str, type[Pairwise]] = {ops.QADD: Add, ops.QMUL: Mul}


def emit_pairwise(node: ir.Node, emit: Emitter) -> None:
    """Emit a QAdd or QMul; either side may be broadcast."""
    a, b, y = operand(node, 0), operand(node, 1), node.outputs[0]
    (a_buffer, a_view), (b_buffer, b_view) = emit.where(a), emit.where(b)
    target = emit.view(y)
    template = PAIRWISE[node.op_type](
        a=a_view,
        b=b_view,
        y=target,
        a_dtype=dtype_of(a),
        b_dtype=dtype_of(b),
        a_zero_point=node.attributes["a_zero_point"].as_int(),
        b_zero_point=node.attributes["b_zero_point"].as_int(),
        epilogue=epilogue_of(node),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(target.layout.size),
    )
    factors = [vector(node, index) for index in range(2, len(node.inputs))]
    emit.produce(node, template, [a_buffer, b_buffer, *factors])


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
        parallel=emit.worth_threads(emit.layout(y).size),
    )
    template = template.on(emit.isa) or template
    emit.produce(node, template, [buffer, vector(node, 1)])


RULES = {
    ops.QADD: emit_pairwise,
    ops.QMUL: emit_pairwise,
    ops.QLUT: emit_lookup,
    "Where": emit_where,
}
