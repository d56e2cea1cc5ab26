"""QLut: any function of one 8-bit tensor, as a table of 256 entries."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Layout

ENTRIES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lookup:
    """`func(x, table[256], y)`: y = table[x - lowest value of x's type].

    With an axis it is `func(x, table[size of the axis * 256], y)`: each index along the axis
    has 256 answers of its own.

    Attributes:
        x: The 8-bit tensor.
        y: The answer, of the same shape.
        axis: Along which the tables differ, not negative; None for one table.
        x_dtype: "uint8" or "int8".
        y_dtype: "uint8" or "int8", also of the table.
        zero_point: Of y.
        lanes: Elements that are looked up together.
        isa: What has a `lookup` of whole vectors; None for one after the other.
        parallel: Whether threads share the work.
    """

    x: View
    y: View
    x_dtype: str
    y_dtype: str
    zero_point: int
    axis: int | None = None
    lanes: int = 16
    isa: Isa | None = None
    parallel: bool = False

    def on(self, isa: Isa) -> Lookup | None:
        """Return the kernel for an instruction set that looks up vectors; None for none."""
        alike = self.axis is None and isa.lookup is not None
        return dataclasses.replace(self, isa=isa, lanes=isa.looked_up) if alike else None

    def func(self) -> Any:
        """Return the PrimFunc."""
        tables = self._tables()
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("lookup")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.layout.size,), self.x_dtype))
            table = tir.arg("table", tir.Buffer((tables.layout.size,), self.y_dtype))
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.y_dtype))

            def step(x_spot: Spot, table_spot: Spot, y_spot: Spot) -> None:
                if self._takes(x_spot, y_spot):
                    y_spot.store(y, self._looked_up(table, x_spot.load(x)))
                    return
                for lane in range(y_spot.lanes):
                    number = x[x_spot.start + lane * x_spot.stride]
                    first = table_spot.start + lane * table_spot.stride
                    entry = table[first + entry_of(number, self.x_dtype)]
                    tir.buffer_store(y, entry, [y_spot.start + lane * y_spot.stride])

            views = (self.x, tables, self.y)
            for_each(views, step, lanes=self.lanes, parallel=self.parallel)
            fill_halo(y, self.y.layout, self.y_dtype, self.zero_point)
        return builder.get()

    def _takes(self, *spots: Spot) -> bool:
        """Whether whole vectors lie there."""
        wide = self.isa is not None and self.isa.lookup is not None
        return wide and all((spot.lanes, spot.stride) == (self.lanes, 1) for spot in spots)

    def _looked_up(self, table: Any, numbers: Expr) -> Expr:
        assert self.isa is not None
        assert self.isa.lookup is not None
        wide = f"uint8x{self.lanes}"
        indices = tir.reinterpret(wide, numbers)
        if self.x_dtype == "int8":
            indices = tir.bitwise_xor(indices, tir.broadcast(tir.uint8(128), self.lanes))
        return tir.reinterpret(f"{self.y_dtype}x{self.lanes}", self.isa.lookup(table, indices))

    def _tables(self) -> View:
        """Return where the table of every element of x begins."""
        count = 1 if self.axis is None else self.x.shape[self.axis]
        rank = len(self.x.shape)
        strides = tuple(ENTRIES if axis == self.axis else 0 for axis in range(rank))
        return View(Layout.rows((count, ENTRIES)), self.x.shape, strides)


def entry_of(number: Expr, dtype: str) -> Expr:
    """Return the index of an 8-bit number in a table that begins at its type's lowest."""
    return tir.cast(number, "int32") - int(np.iinfo(dtype).min)
