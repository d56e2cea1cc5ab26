"""QSoftmax: along rows or along the channels of images; any other axis is moved there."""

from __future__ import annotations

import onnx_ir as ir

from qcompile import ops
from qcompile.targets.emitter import Buffer, Emitter, plain_layout, zero_point_of
from qcompile.targets.kernels.move import Move
from qcompile.targets.kernels.softmax import Softmax
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.operands import dtype_of, epilogue_of, operand, vector


def emit_softmax(node: ir.Node, emit: Emitter) -> None:
    """Emit a QSoftmax over any axis."""
    x, y = operand(node, 0), node.outputs[0]
    shape = static_shape(x)
    axis = node.attributes["axis"].as_int() % len(shape)
    if axis == len(shape) - 1:
        source = Layout.rows(shape, emit.isa.channels)
        target = source if y in emit.layouts else plain_layout(y)
        template = _softmax(node, emit, source, target)
        emit.produce(
            node, template, [emit.buffer(x, source), *_constants(node)], layout=target
        )
        return
    if axis == 1 and emit.layout(x).image and emit.layout(y).image:
        template = _softmax(node, emit, emit.layout(x), emit.layout(y))
        emit.produce(node, template, [emit.buffer(x), *_constants(node)])
        return
    _emit_turned(node, emit, axis)


def _emit_turned(node: ir.Node, emit: Emitter, axis: int) -> None:
    """Emit the softmax with its axis moved to the end and back."""
    x, y = operand(node, 0), node.outputs[0]
    shape = static_shape(x)
    order = [*(other for other in range(len(shape)) if other != axis), axis]
    turned = View.plain([shape[other] for other in order])
    rows = turned.layout
    back = [order.index(position) for position in range(len(shape))]
    moved = _moved(emit, x, emit.buffer(x), emit.view(x).transpose(order), turned)
    answer = emit.call(
        _softmax(node, emit, rows, rows),
        [moved, *_constants(node)],
        size=rows.size,
        dtype=y.dtype,
        node=str(node.name),
    )
    emit.define(y, _moved(emit, y, answer, turned.transpose(back), emit.view(y)))


def _moved(emit: Emitter, value: ir.Value, buffer: Buffer, x: View, y: View) -> Buffer:
    template = Move(
        x=x,
        y=y,
        dtype=dtype_of(value),
        zero_point=zero_point_of(value),
        lanes=emit.isa.lanes,
    )
    return emit.call(template, [buffer], size=y.layout.size, dtype=value.dtype)


def _softmax(node: ir.Node, emit: Emitter, source: Layout, target: Layout) -> Softmax:
    return Softmax(
        x=source,
        y=target,
        dtype=dtype_of(operand(node, 0)),
        epilogue=epilogue_of(node),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(source.size),
    )


def _constants(node: ir.Node) -> list[object]:
    return [vector(node, 1), vector(node, 2)]


RULES = {ops.QSOFTMAX: emit_softmax}
