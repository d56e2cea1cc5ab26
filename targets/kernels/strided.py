"""The loop nest of every kernel that treats elements alike: over views, vectors innermost."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.view import View

UNROLLED = 4
"""Most vectors that are written out one after another."""

PARTS = range(16, 129)
"""How many parts a single long axis may be cut into for the threads."""

NARROW = 8
"""An output axis shorter than this is not worth vectors if another one can have them."""


@dataclasses.dataclass(frozen=True)
class Spot:
    """Where one vector of an operand lies.

    Attributes:
        start: Flat index of its first element.
        stride: Distance of its elements; 0 where one element serves every lane.
        lanes: Elements of the vector.
    """

    start: Expr
    stride: int
    lanes: int

    def load(self, buffer: Any) -> Expr:
        """Return the vector there."""
        if self.lanes > 1 and self.stride == 0:
            return tir.broadcast(buffer[self.start], self.lanes)
        return buffer[self._index]

    def store(self, buffer: Any, vector: Expr) -> None:
        """Write the vector there."""
        tir.buffer_store(buffer, vector, [self._index])

    @property
    def _index(self) -> Expr:
        if self.lanes > 1 and self.stride != 1:
            return tir.ramp(self.start, self.stride, self.lanes)
        return span(self.start, self.lanes)


Body = Callable[..., None]
"""Emits one vector; takes the Spot of each view."""

Axis = tuple[int, tuple[int, ...]]
"""An extent and the stride of every view along it."""


def for_each(
    views: Sequence[View], body: Body, *, lanes: int, gather: int = 16, parallel: bool = False
) -> None:
    """Emit loops over views of one shape, in the order of the last one: the output.

    Vectors may overlap the one before, so `body` must give the same element twice the same
    value. They may also cover padding channels of the output.

    Args:
        views: Inputs and, last, the output.
        body: Called with one Spot a view.
        lanes: Widest vector where all is contiguous.
        gather: Widest vector where an operand is not.
        parallel: Whether threads share the outermost loop.
    """
    if 0 in views[0].shape:  # a Pad that crops all that it got
        return
    *outer, (extent, strides) = nest(views)
    if parallel and not outer:
        parts = next((parts for parts in PARTS if extent % parts == 0), 1)
        extent //= parts
        outer = [(parts, tuple(stride * extent for stride in strides))]
    starts: list[Expr] = [view.offset for view in views]
    with contextlib.ExitStack() as loops:
        for depth, (size, steps) in enumerate(outer):
            loop = tir.parallel if parallel and depth == 0 else tir.serial
            index = loops.enter_context(loop(size))
            starts = _advance(starts, steps, index)
        widest = lanes if set(strides) <= {0, 1} else gather
        width = min(widest, 1 << (extent.bit_length() - 1))

        def emit(position: Expr) -> None:
            here = _advance(starts, strides, position)
            body(*(Spot(*spot, width) for spot in zip(here, strides, strict=True)))

        count = math.ceil(extent / width)
        if count <= UNROLLED:
            for index in range(count):
                emit(min(index * width, extent - width))
            return
        with tir.serial(count) as index:
            exact = extent % width == 0
            emit(index * width if exact else tir.min(index * width, extent - width))


def nest(views: Sequence[View]) -> list[Axis]:
    """Return the loops, outermost first: as few as possible, contiguous output innermost."""
    assert len({view.shape for view in views}) == 1, [view.shape for view in views]
    shape = _widened(views)
    rows = zip(shape, *(view.strides for view in views), strict=True)
    axes: list[Axis] = [(row[0], tuple(row[1:])) for row in rows if row[0] > 1]
    axes.sort(key=lambda axis: -abs(axis[1][-1]))
    merged: list[Axis] = []
    for extent, strides in axes:
        if merged and merged[-1][1] == tuple(stride * extent for stride in strides):
            extent *= merged.pop()[0]
        merged.append((extent, strides))
    if merged and merged[-1][0] < NARROW:
        readable = [axis for axis in merged if axis[1][0] == 1 and axis[0] >= NARROW]
        if readable:
            merged.remove(readable[0])
            merged.append(readable[0])
    return merged or [(1, (0,) * len(views))]


def _widened(views: Sequence[View]) -> list[int]:
    """Return the shape, with the channels' axis taken over the padding where that is allowed.

    It is where the output has its whole pixels there and every operand's vectors start at a
    pixel's first channel. Then pixels often follow each other without a gap.
    """
    output = views[-1]
    shape = list(output.shape)
    for axis, stride in enumerate(output.strides):
        if stride != 1 or shape[axis] != output.layout.c:
            continue
        reach = [_reach(view, axis) for view in views]
        shape[axis] = max(shape[axis], min(reach))
    return shape


def _reach(view: View, axis: int) -> int:
    """Return how many elements along an axis of stride 0 or 1 are in memory from any start."""
    if view.strides[axis] == 0:
        return 1 << 30
    pixel = view.layout.c_pad
    others = [stride for other, stride in enumerate(view.strides) if other != axis]
    aligned = view.offset % pixel == 0 and all(stride % pixel == 0 for stride in others)
    return pixel if view.strides[axis] == 1 and aligned else 0


def _advance(starts: Sequence[Expr], strides: Sequence[int], index: Expr) -> list[Expr]:
    return [
        start + index * stride if stride else start
        for start, stride in zip(starts, strides, strict=True)
    ]
