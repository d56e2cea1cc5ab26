"""QAdd and QLut: operators that treat elements alike."""

from __future__ import annotations

import onnx_ir as ir

from qcompile import ops
from qcompile.targets.emitter import Emitter, zero_point_of
from qcompile.targets.kernels.add import Add
from qcompile.targets.kernels.lookup import Lookup
from qcompile.targets.rules.operands import dtype_of, epilogue_of, operand, vector


def emit_add(node: ir.Node, emit: Emitter) -> None:
    """Emit a QAdd; either side may be broadcast."""
    a, b, y = operand(node, 0), operand(node, 1), node.outputs[0]
    target = emit.view(y)
    template = Add(
        a=emit.view(a),
        b=emit.view(b),
        y=target,
        a_dtype=dtype_of(a),
        b_dtype=dtype_of(b),
        a_zero_point=node.attributes["a_zero_point"].as_int(),
        b_zero_point=node.attributes["b_zero_point"].as_int(),
        epilogue=epilogue_of(node),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(target.layout.size),
    )
    factors = [vector(node, 2), vector(node, 3)]
    emit.produce(node, template, [emit.buffer(a), emit.buffer(b), *factors])


def emit_lookup(node: ir.Node, emit: Emitter) -> None:
    """Emit a QLut."""
    x, y = operand(node, 0), node.outputs[0]
    template = Lookup(
        x=emit.view(x),
        y=emit.view(y),
        x_dtype=dtype_of(x),
        y_dtype=dtype_of(y),
        zero_point=zero_point_of(y),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(emit.layout(y).size),
    )
    emit.produce(node, template, [emit.buffer(x), vector(node, 1)])


RULES = {ops.QADD: emit_add, ops.QLUT: emit_lookup}
