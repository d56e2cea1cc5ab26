"""Resize, Pad, Expand, Tile and Gather: strides where they suffice, tables of indices else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.index_maps import index_maps
from qcompile.graphs.resize_map import why_not_mapped
from qcompile.regions import constant, is_move
from qcompile.targets.emitter import Buffer, Emitter, zero_point_of
from qcompile.targets.kernels.gather import Gather, Table
from qcompile.targets.kernels.view import Axis, View
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.moves import emit_pad, settle
from qcompile.targets.rules.operands import dtype_of, integers, operand

Array = npt.NDArray[np.generic]
Indices = npt.NDArray[np.int64]


def emit_chosen(node: ir.Node, emit: Emitter) -> None:
    """Emit a nearest Resize, or a Pad: with a constant, or with what is there."""
    inputs = [None, *(constant(value) for value in node.inputs[1:])]
    maps = index_maps(node, static_shape(operand(node, 0)), inputs)
    if maps is None:
        emit_pad(node, emit)
    else:
        _choose(node, emit, dict(enumerate(maps)))


def emit_expand(node: ir.Node, emit: Emitter) -> None:
    """Emit an Expand: strides of 0."""
    source, x = emit.origin(operand(node, 0))
    settle(node, emit, source, x.broadcast_to(static_shape(node.outputs[0])))


def emit_tile(node: ir.Node, emit: Emitter) -> None:
    """Emit a Tile: an axis of stride 0 before each axis."""
    source, x = emit.origin(operand(node, 0))
    for axis, count in reversed(list(enumerate(integers(node, 1) or []))):
        x = x.pick(axis, 0, [(count, 0), (x.shape[axis], 1)])
    settle(node, emit, source, x)


def emit_gather(node: ir.Node, emit: Emitter) -> None:
    """Emit a Gather, of constant indices or of those of the run."""
    indices, y = operand(node, 1), node.outputs[0]
    buffer, source = emit.where(operand(node, 0))
    axis = node.attributes.get_int("axis", 0) % len(source.shape)
    shape = static_shape(indices)
    fixed = constant(indices)
    if fixed is not None and len(shape) < 2:
        size = source.shape[axis]
        numbers = fixed.astype(np.int64).reshape(-1)
        numbers = np.clip(np.where(numbers < 0, numbers + size, numbers), 0, size - 1)
        _choose(node, emit, {axis: numbers})
        return
    around = (*[1] * axis, *shape, *[1] * (len(source.shape) - axis - 1))
    assert indices.dtype is not None
    table = Table(
        indices=View.plain(around).broadcast_to(static_shape(y)),
        stride=source.strides[axis],
        size=source.shape[axis],
        dtype=indices.dtype.numpy().name,
        clamped=True,
    )
    held = source.pick(axis, 0, [(size, 0) for size in shape])
    _gather(node, emit, held, [table], [buffer, emit.plain(indices)])


def runs(node: ir.Node) -> bool:
    """Whether these rules can emit the node: what it is told is constant, its mode known."""
    if node.op_type == "Gather":
        return True
    told = [value for value in node.inputs[1:] if value is not None]
    known = all(constant(value) is not None for value in told)
    return known and (node.op_type != "Resize" or _is_choice(node))


def _is_choice(resize: ir.Node) -> bool:
    return is_move(resize) and why_not_mapped(resize) is None


def digits(indices: Indices) -> tuple[int, list[Axis]] | None:
    """Return (start, [(extent, step), ...]) if the indices are those of nested loops.

    At most two of them: `start + i * step` as in a Slice, `start + i * step + j * step'` as in
    a repetition of each (i // n) or of all (i % n). None for any other.
    """
    start, count = int(indices[0]), len(indices)
    steps = np.diff(indices)
    if count == 1 or (steps == steps[0]).all():
        return start, [(count, int(steps[0]) if count > 1 else 0)]
    inner = int(np.flatnonzero(steps != steps[0])[0]) + 1
    if count % inner:
        return None
    outer, step, fine = count // inner, int(indices[inner]) - start, int(steps[0])
    loops = start + step * np.arange(outer)[:, None] + fine * np.arange(inner)
    if not np.array_equal(loops.reshape(-1), indices):
        return None
    return start, [(outer, step), (inner, fine)]


def _choose(node: ir.Node, emit: Emitter, maps: Mapping[int, Indices]) -> None:
    """Emit y[i, j, ...] = x[maps[0][i], maps[1][j], ...]."""
    source, x = emit.origin(operand(node, 0))
    loops = {axis: digits(indices) for axis, indices in maps.items()}
    if all(found is not None for found in loops.values()):
        for axis, found in sorted(loops.items(), reverse=True):
            assert found is not None
            x = x.pick(axis, *found)
        settle(node, emit, source, x)
        return
    target = emit.view(node.outputs[0])
    buffer, x = emit.where(operand(node, 0))
    tables: list[Table] = []
    arguments: list[Buffer | Array] = [buffer]
    for axis, indices in maps.items():
        found = loops[axis]
        if found is not None and len(found[1]) == 1:
            x = x.pick(axis, *found)
            continue
        around = [1] * len(target.shape)
        around[axis] = len(indices)
        places = View.plain(around).broadcast_to(target.shape)
        tables.append(Table(indices=places, stride=x.strides[axis], size=x.shape[axis]))
        arguments.append(indices.astype(np.int32))
        x = x.pick(axis, 0, [(len(indices), 0)])
    _gather(node, emit, x, tables, arguments)


def _gather(
    node: ir.Node,
    emit: Emitter,
    x: View,
    tables: Sequence[Table],
    arguments: Sequence[Buffer | Array],
) -> None:
    y = node.outputs[0]
    template = Gather(
        x=x,
        y=emit.view(y),
        tables=tuple(tables),
        dtype=dtype_of(y),
        zero_point=zero_point_of(y),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(emit.layout(y).size),
    )
    emit.produce(node, template, arguments)


RULES: dict[str, Callable[[ir.Node, Emitter], None]] = {
    "Resize": emit_chosen,
    "Pad": emit_chosen,
    "Expand": emit_expand,
    "Tile": emit_tile,
    "Gather": emit_gather,
}
