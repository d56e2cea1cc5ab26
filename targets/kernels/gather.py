"""Gather, and a Resize or Pad that no strides describe: elements chosen through tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.copies import elements
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Indices along one axis of x.

    Attributes:
        indices: Where the index lies that each element of y is read by.
        stride: Distance of neighbours along the axis of x.
        size: Elements of that axis.
        dtype: "int32" or "int64".
        clamped: Whether an index may be negative, counting from the end, or beyond the axis,
            where it stands for the last one on its side; a constant one is right.
    """

    indices: View
    stride: int
    size: int
    dtype: str = "int32"
    clamped: bool = False

    def offset(self, buffer: Any, place: Expr) -> Expr:
        """Return how far the index at a place leads, int32."""
        index = buffer[place]
        if self.clamped:
            number = getattr(tir, self.dtype)
            index = tir.Select(index < number(0), index + number(self.size), index)
            index = tir.max(tir.min(index, number(self.size - 1)), number(0))
        return tir.cast(index, "int32") * self.stride


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gather:
    """`func(x, indices0, indices1, ..., y)`: y[i, j] = x[table[i], j], for any axes.

    Attributes:
        x: What is read, in y's shape, of stride 0 where a table leads.
        y: Where it goes.
        tables: One for each axis of x that is read through indices.
        dtype: Of x and y.
        zero_point: Of both; fills the halo of y.
        lanes: 32-bit lanes of a vector.
        parallel: Whether threads share the work.
    """

    x: View
    y: View
    tables: tuple[Table, ...]
    dtype: str
    zero_point: int = 0
    lanes: int = 16
    parallel: bool = False

    def __post_init__(self) -> None:
        for view in (self.x, *(table.indices for table in self.tables)):
            if view.shape != self.y.shape:
                raise ValueError(f"{view.shape} is not the shape of y, {self.y.shape}")

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("gather")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.layout.size,), self.dtype))
            indices = [
                tir.arg(f"indices{at}", tir.Buffer((table.indices.layout.size,), table.dtype))
                for at, table in enumerate(self.tables)
            ]
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.dtype))

            def step(x_spot: Spot, *spots: Spot) -> None:
                *places, y_spot = spots
                if all(place.stride == 0 for place in places):
                    starts = [place.start for place in places]
                    start = x_spot.start + self._offset(indices, starts)
                    y_spot.store(y, dataclasses.replace(x_spot, start=start).load(x))
                    return
                with tir.serial(y_spot.lanes) as lane:
                    starts = [place.start + lane * place.stride for place in places]
                    start = x_spot.start + lane * x_spot.stride
                    number = x[start + self._offset(indices, starts)]
                    tir.buffer_store(y, number, [y_spot.start + lane * y_spot.stride])

            views = (self.x, *(table.indices for table in self.tables), self.y)
            lanes = elements(self.lanes, self.dtype)
            for_each(views, step, lanes=lanes, parallel=self.parallel)
            fill_halo(y, self.y.layout, self.dtype, self.zero_point)
        return builder.get()

    def _offset(self, indices: Sequence[Any], starts: Sequence[Expr]) -> Expr:
        offset: Expr = 0
        for table, buffer, start in zip(self.tables, indices, starts, strict=True):
            offset = offset + table.offset(buffer, start)
        return offset
