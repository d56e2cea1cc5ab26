"""The loop nest of every kernel that treats elements alike: over views, vectors innermost."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.blocks import power_of_two
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.view import View

UNROLLED = 4
"""Most vectors that are written out one after another."""

PARTS = range(16, 129)
"""How many parts a single long axis may be cut into for the threads."""

GATHERED = 16
"""Widest vector of elements that do not lie side by side."""

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


@dataclasses.dataclass(frozen=True)
class Line:
    """The vectors along the innermost axis.

    Attributes:
        axis: It.
        lanes: Widest vector where all is contiguous.
        gather: Widest vector where an operand is not.
        narrowest: Least vector for what is left at the end; None is as wide as the others.
    """

    axis: Axis
    lanes: int
    gather: int
    narrowest: int | None

    @property
    def extent(self) -> int:
        """Elements."""
        return self.axis[0]

    @property
    def strides(self) -> tuple[int, ...]:
        """Of every view."""
        return self.axis[1]

    @property
    def width(self) -> int:
        """Elements of a vector."""
        widest = self.lanes if set(self.strides) <= {0, 1} else self.gather
        return min(widest, power_of_two(self.extent))

    @property
    def last(self) -> int:
        """Elements of the vector for what is left, which may overlap the one before; or 0."""
        rest = self.extent % self.width
        least = self.narrowest or self.width
        return min(self.width, max(least, ceil_power_of_two(rest))) if rest else 0

    @property
    def count(self) -> int:
        """Vectors."""
        return -(-self.extent // self.width)

    def vector(self, starts: Sequence[Expr], position: Expr, width: int, body: Body) -> None:
        """Emit one vector."""
        here = advance(starts, self.strides, position)
        body(*(Spot(*spot, width) for spot in zip(here, self.strides, strict=True)))

    def emit(self, starts: Sequence[Expr], body: Body) -> None:
        """Emit all of them, one after another or in a loop."""
        width, whole = self.width, self.extent // self.width
        end = self.extent - self.last
        if self.count <= UNROLLED:
            for index in range(whole):
                self.vector(starts, index * width, width, body)
            if self.last:
                self.vector(starts, end, self.last, body)
        elif self.last == width:
            with tir.serial(self.count) as index:
                self.vector(starts, tir.min(index * width, end), width, body)
        else:
            with tir.serial(whole) as index:
                self.vector(starts, index * width, width, body)
            if self.last:
                self.vector(starts, end, self.last, body)


def for_each(
    views: Sequence[View],
    body: Body,
    *,
    lanes: int,
    gather: int = GATHERED,
    narrowest: int | None = None,
    starts: Sequence[Expr] | None = None,
    parallel: bool = False,
) -> None:
    """Emit loops over views of one shape, in the order of the last one: the output.

    Vectors may overlap the one before, so `body` must give the same element twice the same
    value. They may also cover padding channels of the output.

    Args:
        views: Inputs and, last, the output.
        body: Called with one Spot a view.
        lanes: Widest vector where all is contiguous.
        gather: Widest vector where an operand is not.
        narrowest: Least vector for what is left at the end of a line; as wide as the others by
            default.
        starts: Where each view begins, if not at its own offset.
        parallel: Whether threads share the outermost loop.
    """
    if 0 in views[0].shape:  # a Pad that crops all that it got
        return
    axes = nest(views)
    line = Line(axes[-1], lanes, gather, narrowest)
    starts = starts or [view.offset for view in views]
    if line.count > UNROLLED and len(axes) > 1 and 0 in axes[-2][1]:
        _columns(axes[:-1], line, starts, body, parallel=parallel)
        return
    if parallel and len(axes) == 1:
        parts = next((parts for parts in PARTS if line.extent % parts == 0), 1)
        inner = line.extent // parts
        axes = [
            (parts, tuple(stride * inner for stride in line.strides)),
            (inner, line.strides),
        ]
        line = Line(axes[-1], lanes, gather, narrowest)
    with loops(axes[:-1], starts, parallel=parallel) as places:
        line.emit(places, body)


def _columns(
    axes: Sequence[Axis], line: Line, starts: Sequence[Expr], body: Body, *, parallel: bool
) -> None:
    """Emit vectors of a column after each other: an operand may be the same in all of them."""
    count, rest = divmod(line.extent, line.width)
    with (tir.parallel if parallel else tir.serial)(count) as index:
        column = advance(starts, line.strides, index * line.width)
        with loops(axes, column) as places:
            line.vector(places, 0, line.width, body)
    if rest:
        column = advance(starts, line.strides, line.extent - line.last)
        with loops(axes, column) as places:
            line.vector(places, 0, line.last, body)


@contextlib.contextmanager
def loops(
    axes: Sequence[Axis], starts: Sequence[Expr], *, parallel: bool = False
) -> Iterator[list[Expr]]:
    """Emit loops, and give where each view is inside of them; threads share the outermost."""
    places = list(starts)
    with contextlib.ExitStack() as opened:
        for depth, (size, steps) in enumerate(axes):
            loop = tir.parallel if parallel and depth == 0 else tir.serial
            places = advance(places, steps, opened.enter_context(loop(size)))
        yield places


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


def advance(starts: Sequence[Expr], strides: Sequence[int], index: Expr) -> list[Expr]:
    """Return the places at an index along an axis."""
    return [
        start + index * stride if stride else start
        for start, stride in zip(starts, strides, strict=True)
    ]


def ceil_power_of_two(number: int) -> int:
    """Return the least power of two that is not below the number."""
    return 1 << max(0, number - 1).bit_length()
