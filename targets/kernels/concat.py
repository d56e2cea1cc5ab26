"""Concat: several tensors behind one another along an axis."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.copies import copy, copy_row, elements
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.strided import loops
from qcompile.targets.kernels.view import View, align, align_all

Pair = tuple[View, View]
"""What is read, and where it goes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Concat:
    """`func(x0, x1, ..., y)`; all have one scale and zero point.

    Where the parts are channels of pixels, each pixel is written as a whole, in one pass over
    the output.

    Attributes:
        inputs: The parts, in order: in their own shapes, or others of as many elements, in
            row-major order.
        y: The whole.
        axis: The logical axis, not negative.
        dtype: Of every tensor.
        zero_point: Of every tensor.
        lanes: 32-bit lanes of a vector.
        parallel: Whether threads share the work.
    """

    inputs: tuple[View, ...]
    y: View
    axis: int
    dtype: str
    zero_point: int
    lanes: int = 16
    parallel: bool = False

    def __post_init__(self) -> None:
        total = sum(math.prod(view.shape) for view in self.inputs)
        if total != math.prod(self.y.shape):
            raise ValueError(f"parts of {total} do not fill {math.prod(self.y.shape)}")

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("concat")
            tir.func_attr({"tirx.noalias": True})
            parts = [
                tir.arg(f"x{index}", tir.Buffer((view.layout.size,), self.dtype))
                for index, view in enumerate(self.inputs)
            ]
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.dtype))
            pairs = list(zip(self.inputs, self._targets(), strict=True))
            together = _together(pairs, self.y.strides[self.axis] * self.y.shape[self.axis])
            if together is None:
                lanes = elements(self.lanes, self.dtype)
                for part, (x, target) in zip(parts, pairs, strict=True):
                    copy(part, x, y, target, lanes=lanes, parallel=self.parallel)
            else:
                self._interleave(parts, y, *together)
            fill_halo(y, self.y.layout, self.dtype, self.zero_point)
        return builder.get()

    def _targets(self) -> list[View]:
        """Return where the parts go."""
        shape, found = list(self.y.shape), []
        starts = [0] * len(shape)
        for view in self.inputs:
            whole = math.prod(self.y.shape)
            shape[self.axis] = math.prod(view.shape) * self.y.shape[self.axis] // whole
            found.append(self.y.slice(starts, shape))
            starts[self.axis] += shape[self.axis]
        return found

    def _interleave(
        self, parts: Sequence[Any], y: Any, outer: Sequence[View], inner: Sequence[Pair]
    ) -> None:
        """Emit all parts inside of the loops that they have in common."""
        strides = zip(*(view.strides for view in outer), strict=True)
        axes = list(zip(outer[0].shape, strides, strict=True))
        lanes = elements(self.lanes, self.dtype)
        starts = [view.offset for view in outer]
        with loops(axes, starts, parallel=self.parallel) as places:
            for index, (part, (x, target)) in enumerate(zip(parts, inner, strict=True)):
                here = places[2 * index : 2 * index + 2]
                if x.strides == target.strides == (1,):
                    room = min(_room(view) for view in outer[2 * index : 2 * index + 2])
                    copy_row(part, here[0], y, here[1], *x.shape, room=room, lanes=lanes)
                else:
                    copy(part, x, y, target, lanes=lanes, starts=here)


def _together(pairs: Sequence[Pair], step: int) -> tuple[list[View], list[Pair]] | None:
    """Return the loops that all parts have in common, a view each, and what is inside.

    Args:
        pairs: What is read and where it goes.
        step: What the axes outside of the one that the parts share begin with as a stride.
    """
    aligned = [align(*pair) for pair in pairs]
    outer: list[View] = []
    inner: list[Pair] = []
    for pair in aligned:
        if pair is None:
            return None
        x, y = pair
        inside = [axis for axis, stride in enumerate(y.strides) if stride < step]
        outside = [axis for axis, stride in enumerate(y.strides) if stride >= step]
        outer += [x.without(inside), y.without(inside)]
        inner.append((x.without(outside), y.without(outside)))
    common = align_all(outer)
    return (common, inner) if common and common[0].shape and len(pairs) > 1 else None


def _room(view: View) -> int:
    """Return how many elements there are from each start of a view to the end of its pixel."""
    pixel = view.layout.c_pad
    if any(stride % pixel for stride in view.strides):
        return 0
    return pixel - view.offset % pixel
