"""Operators that only move integers: a Move with the right views, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from qcompile.targets.emitter import Emitter, zero_point_of
from qcompile.targets.kernels.concat import Concat
from qcompile.targets.kernels.move import Move
from qcompile.targets.kernels.view import View, align
from qcompile.targets.layout import Halo
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.borders import quantize
from qcompile.targets.rules.looking import looked_through
from qcompile.targets.rules.operands import dtype_of, integers, operand, optional, vector


def emit_reshape(node: ir.Node, emit: Emitter) -> None:
    """Emit a Reshape, Flatten, Squeeze, Unsqueeze or Identity."""
    source, view = emit.origin(operand(node, 0))
    settle(node, emit, source, view.reshape(static_shape(node.outputs[0])) or view)


def emit_transpose(node: ir.Node, emit: Emitter) -> None:
    """Emit a Transpose; from rows of channels to images it is often no work."""
    source, view = emit.origin(operand(node, 0))
    order = node.attributes.get_ints("perm") or list(reversed(range(len(view.shape))))
    settle(node, emit, source, view.transpose(order))


def emit_slice(node: ir.Node, emit: Emitter) -> None:
    """Emit a Slice with constant bounds."""
    source, x = emit.origin(operand(node, 0))
    starts, ends = integers(node, 1) or [], integers(node, 2) or []
    axes = integers(node, 3) or list(range(len(starts)))
    steps = integers(node, 4) or [1] * len(starts)
    taken = [range(size) for size in x.shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.shape[axis]
        taken[axis % len(x.shape)] = range(*slice(start, end, step).indices(size))
    first = [numbers.start for numbers in taken]
    extents = [len(numbers) for numbers in taken]
    view = x.slice(first, extents, [numbers.step for numbers in taken])
    settle(node, emit, source, view)


def emit_pad(node: ir.Node, emit: Emitter) -> None:
    """Emit a Pad with a constant; `choices` has the other modes."""
    (buffer, source), y = emit.where(operand(node, 0)), node.outputs[0]
    rank = len(source.shape)
    pads, axes = integers(node, 1) or [], integers(node, 3) or list(range(rank))
    begins = [0] * rank
    for position, axis in enumerate(axes):
        begins[axis % rank] = pads[position]
    value = int(vector(node, 2)[0]) if optional(node, 2) is not None else 0
    template = Move.pad(
        source,
        emit.view(y),
        begins,
        value,
        dtype=dtype_of(y),
        zero_point=zero_point_of(y),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(emit.layout(y).size),
    )
    emit.produce(node, template, [buffer])


def emit_concat(node: ir.Node, emit: Emitter) -> None:
    """Emit a Concat of tensors of one scale."""
    parts = [emit.where(operand(node, index)) for index in range(len(node.inputs))]
    y = node.outputs[0]
    target = emit.view(y)
    template = Concat(
        inputs=tuple(view for _, view in parts),
        y=target,
        axis=node.attributes["axis"].as_int() % len(target.shape),
        dtype=dtype_of(y),
        zero_point=zero_point_of(y),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(target.layout.size),
    )
    emit.produce(node, template, [buffer for buffer, _ in parts])


def settle(node: ir.Node, emit: Emitter, source: ir.Value, view: View) -> None:
    """Emit y = view, or leave it to the readers of y to look through the view."""
    y = node.outputs[0]
    if source is y:  # a convolution has stored it already
        return
    readable = looked_through(y, repeated=view.shape != static_shape(y))
    if readable and not same_places(view, emit.view(y)):
        emit.defer(y, source, view, lambda: move(node, emit, source, view))
    else:
        move(node, emit, source, view)


def move(node: ir.Node, emit: Emitter, source: ir.Value, view: View) -> None:
    """Emit y = view in row-major order, or only another name where nothing would move."""
    y = node.outputs[0]
    target = emit.view(y)
    if source.dtype != y.dtype:
        quantize(node, emit, source, view)
        return
    if same_places(view, target):
        emit.define(y, emit.buffer(source))
        return
    template = Move(
        x=view,
        y=target,
        dtype=dtype_of(y),
        zero_point=zero_point_of(y),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(target.layout.size),
    )
    emit.produce(node, template, [emit.buffer(source)])


def same_places(x: View, y: View) -> bool:
    """Whether every element already lies where it should, in memory of the same size."""
    pair = align(x, y)
    return (
        pair is not None
        and pair[0].strides == pair[1].strides
        and (x.offset, x.layout.size) == (y.offset, y.layout.size)
        and x.layout.halo == y.layout.halo == Halo()
    )


RULES: dict[str, Callable[[ir.Node, Emitter], None]] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"), emit_reshape),
    "Transpose": emit_transpose,
    "Slice": emit_slice,
    "Concat": emit_concat,
}
