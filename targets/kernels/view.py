"""A tensor as NumPy sees one: extents, strides and an offset into the memory of a Layout."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import Any

from qcompile.targets.layout import Layout

Axis = tuple[int, int]
"""An extent and its stride."""


@dataclasses.dataclass(frozen=True)
class View:
    """The element (i, j, ...) lies at `offset + i * strides[0] + j * strides[1] + ...`.

    Transpose, Slice and broadcasting change only these numbers, so a kernel over views does
    them on the way.

    Attributes:
        layout: The memory.
        shape: Logical extents.
        strides: Elements of memory between neighbours along each axis; 0 repeats.
        offset: Where the first element lies.
    """

    layout: Layout
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def of(cls, shape: Sequence[int], layout: Layout) -> View:
        """Return the tensor of that shape as it lies in its layout.

        Raises:
            ValueError: The layout is one of another shape.
        """
        shape = tuple(shape)
        fits = (
            Layout.spatial(shape) if layout.image and len(shape) == 4 else Layout.rows(shape)
        )
        if (fits.n, fits.h, fits.w, fits.c) != (layout.n, layout.h, layout.w, layout.c):
            raise ValueError(f"{layout} does not hold a tensor of shape {shape}")
        if fits.image:
            line = layout.stored_w * layout.c_pad
            strides: tuple[int, ...] = (layout.stored_h * line, 1, line, layout.c_pad)
        else:
            strides = tuple(
                math.prod(shape[axis + 1 : -1]) * layout.c_pad
                for axis in range(len(shape) - 1)
            )
            strides += (1,) if shape else ()
        return cls(layout, shape, strides, layout.at(0, 0, 0, 0))

    @classmethod
    def plain(cls, shape: Sequence[int]) -> View:
        """Return a tensor in row-major order without any padding."""
        return cls.of(shape, Layout.rows(shape))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Extents and strides, pairwise."""
        return tuple(zip(self.shape, self.strides, strict=True))

    def at(self, index: Any) -> Any:
        """Return the flat index of the element with that row-major number."""
        merged = self.merged()
        address, inner = self.offset, 1
        for position, (extent, stride) in enumerate(reversed(merged.axes)):
            part = index // inner if inner > 1 else index
            if position < len(merged.axes) - 1:
                part = part % extent
            address = address + part * stride
            inner *= extent
        return address

    def transpose(self, order: Sequence[int]) -> View:
        """Return the view whose axis i is this one's axis order[i]."""
        return self._with([self.axes[axis] for axis in order])

    def slice(
        self, starts: Sequence[int], shape: Sequence[int], steps: Sequence[int] | None = None
    ) -> View:
        """Return the elements `start + i * step` of each axis; a step may be negative.

        Raises:
            ValueError: An element would lie outside the tensor.
        """
        steps = steps or [1] * len(self.shape)
        for size, start, length, step in zip(self.shape, starts, shape, steps, strict=True):
            last = start + (length - 1) * step
            if length > 0 and not (0 <= start < size and 0 <= last < size):
                raise ValueError(f"{start}..{last} is outside an axis of {size}")
        move = sum(start * stride for start, stride in zip(starts, self.strides, strict=True))
        strides = [stride * step for stride, step in zip(self.strides, steps, strict=True)]
        axes = list(zip(shape, strides, strict=True))
        return dataclasses.replace(self._with(axes), offset=self.offset + move)

    def broadcast_to(self, shape: Sequence[int]) -> View:
        """Return the view repeated to a shape, by NumPy's rule.

        Raises:
            ValueError: The shape is not one that this one broadcasts to.
        """
        missing = len(shape) - len(self.shape)
        axes = [(1, 0)] * missing + list(self.axes)
        if missing < 0 or any(
            own not in (1, size) for (own, _), size in zip(axes, shape, strict=True)
        ):
            raise ValueError(f"{self.shape} does not broadcast to {tuple(shape)}")
        return self._with(
            [
                (size, stride if own == size else 0)
                for (own, stride), size in zip(axes, shape, strict=True)
            ]
        )

    def without(self, axes: Collection[int]) -> View:
        """Return the elements at index 0 of some axes, without these axes."""
        return self._with([each for axis, each in enumerate(self.axes) if axis not in axes])

    def pick(self, axis: int, start: int, axes: Sequence[Axis]) -> View:
        """Return the view whose axis became several: `start + i * step + j * step + ...`.

        Args:
            axis: The axis.
            start: The first index along it.
            axes: The extent of each new axis, and its step along the old one; 0 repeats.
        """
        stride = self.strides[axis]
        picked = [(extent, stride * step) for extent, step in axes]
        view = self._with([*self.axes[:axis], *picked, *self.axes[axis + 1 :]])
        return dataclasses.replace(view, offset=self.offset + start * stride)

    def reshape(self, shape: Sequence[int]) -> View | None:
        """Return the view of another shape, row-major order kept; None where it has gaps."""
        waiting = list(self.merged().axes)
        axes: list[Axis] = []
        for size in reversed(shape):
            if size == 1:
                axes.append((1, 0))
                continue
            extent, stride = waiting.pop() if waiting else (1, 0)
            if extent % size:
                return None
            axes.append((size, stride))
            if extent > size:
                waiting.append((extent // size, stride * size))
        return self._with(axes[::-1])

    def merged(self) -> View:
        """Return the same elements in the same order with as few axes as strides allow."""
        axes: list[Axis] = []
        for extent, stride in self.axes:
            if extent == 1:
                continue
            if axes and axes[-1][1] == extent * stride:
                extent *= axes.pop()[0]
            axes.append((extent, stride))
        return self._with(axes)

    def _with(self, axes: Sequence[Axis]) -> View:
        shape = tuple(extent for extent, _ in axes)
        return dataclasses.replace(
            self, shape=shape, strides=tuple(stride for _, stride in axes)
        )


def align(x: View, y: View) -> tuple[View, View] | None:
    """Return two views of equal size with one common shape, row-major order kept: a reshape.

    Every axis is split where the other one ends. None where that cannot be, as for rows of
    6 that become rows of 8 when neither lies without gaps.
    """
    found = align_all((x, y))
    return None if found is None else (found[0], found[1])


def align_all(views: Sequence[View]) -> list[View] | None:
    """Return views of equal size with one common shape; see `align`."""
    if len({math.prod(view.shape) for view in views}) > 1:
        shapes = ", ".join(str(view.shape) for view in views)
        raise ValueError(f"these cannot be reshaped to one another: {shapes}")
    rows = split_alike([view.merged().axes for view in views])
    if rows is None:
        return None
    return [view._with(axes) for view, axes in zip(views, rows, strict=True)]


def split_alike(rows: Sequence[Sequence[Axis]]) -> list[list[Axis]] | None:
    """Return loops over as many elements each, split until their extents agree; or None."""
    waiting = [list(axes) for axes in rows]
    found: list[list[Axis]] = [[] for _ in rows]
    while all(waiting):
        last = [axes.pop() for axes in waiting]
        extent = min(each for each, _ in last)
        for axes, done, (each, stride) in zip(waiting, found, last, strict=True):
            if each % extent:
                return None
            done.insert(0, (extent, stride))
            if each > extent:
                axes.append((each // extent, stride * extent))
    return found
