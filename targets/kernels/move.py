"""Transpose, Reshape, Slice, Pad and changes of layout: elements that only change place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.copies import copy, elements
from qcompile.targets.kernels.halo import fill, fill_halo
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move:
    """`func(x, y)`: the elements of x take the places y, in row-major order of their shapes.

        Transpose     x = View.of(shape, source).transpose(order)
        Slice         x = View.of(shape, source).slice(starts, extents, steps)
        Pad           Move.pad
        Reshape       the shapes of x and y differ; likewise Flatten, Squeeze, Unsqueeze
        other layout  Move.relayout

    Attributes:
        x: What is read.
        y: Where it goes; all of its tensor, unless `rest` says what the others hold.
        dtype: Of both.
        zero_point: Of both; fills the halo of y.
        rest: What elements of y's tensor outside the view y are set to.
        lanes: 32-bit lanes of a vector.
        parallel: Whether threads share the work.
    """

    x: View
    y: View
    dtype: str
    zero_point: int = 0
    rest: float | None = None
    lanes: int = 16
    parallel: bool = False

    def __post_init__(self) -> None:
        if math.prod(self.x.shape) != math.prod(self.y.shape):
            raise ValueError(f"{self.x.shape} has not as many elements as {self.y.shape}")

    @classmethod
    def relayout(
        cls, shape: Sequence[int], source: Layout, target: Layout, **fields: Any
    ) -> Move:
        """Return the move of a tensor from one layout to another."""
        return cls(x=View.of(shape, source), y=View.of(shape, target), **fields)

    @classmethod
    def pad(cls, x: View, y: View, begins: Sequence[int], value: float, **fields: Any) -> Move:
        """Return a Pad with a constant; a negative begin or end crops.

        Args:
            x: The tensor.
            y: The padded tensor.
            begins: Elements put before each axis; what is put behind follows from y.
            value: What they hold.
            fields: The other fields.
        """
        first = [max(0, -begin) for begin in begins]
        place = [max(0, begin) for begin in begins]
        extents = [
            max(0, min(x_size - skip, y_size - start))
            for x_size, y_size, skip, start in zip(x.shape, y.shape, first, place, strict=True)
        ]
        return cls(x=x.slice(first, extents), y=y.slice(place, extents), rest=value, **fields)

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("move")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.layout.size,), self.dtype))
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.dtype))
            if self.rest is not None:
                fill(y, 0, self.y.layout.size, self.dtype, self.rest)
            lanes = elements(self.lanes, self.dtype)
            copy(x, self.x, y, self.y, lanes=lanes, parallel=self.parallel)
            fill_halo(y, self.y.layout, self.dtype, self.zero_point)
        return builder.get()
