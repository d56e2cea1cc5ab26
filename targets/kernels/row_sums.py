"""Sums over the rows of the left side of a matrix product."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels.blocks import Registers
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowSums:
    """`func(a, zero_point int32[1], y)`: y[row] = (shift - zero_point) * sum(a[row, :]).

    Attributes:
        a: The matrices [..., K], whose last axis has stride 1, of the type that dots take.
        isa: The instruction set.
        shift: See above.
        parallel: Whether threads share the work.
    """

    a: View
    isa: Isa
    shift: int = 0
    parallel: bool = False

    @property
    def rows(self) -> int:
        """How many sums there are."""
        return math.prod(self.a.shape[:-1])

    def func(self) -> Any:
        """Return the PrimFunc."""
        leading = dataclasses.replace(
            self.a, shape=self.a.shape[:-1], strides=self.a.strides[:-1]
        )
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("row_sums")
            tir.func_attr({"tirx.noalias": True})
            a = tir.arg("a", tir.Buffer((self.a.layout.size,), self.isa.activation))
            zero_point = tir.arg("zero_point", tir.Buffer((1,), "int32"))
            y = tir.arg("y", tir.Buffer((self.rows,), "int32"))
            with (tir.parallel if self.parallel else tir.serial)(self.rows) as row:
                total = self._sum(a, leading.at(row))
                tir.buffer_store(y, (self.shift - zero_point[0]) * total, [row])
        return builder.get()

    def _sum(self, a: Any, start: Expr) -> Expr:
        """Emit the sum of one row: dots with ones, then single vectors, then what is left."""
        lanes, depth = self.isa.lanes, self.a.shape[-1]
        acc = Registers(1, lanes)
        acc[0] = tir.broadcast(tir.int32(0), lanes)
        wide = lanes * self.isa.taps if self.isa.taps > 1 else depth + 1
        done = depth // wide * wide
        with tir.serial(depth // wide) as k:
            numbers = tir.reinterpret(f"int8x{wide}", a[span(start + k * wide, wide)])
            acc[0] = self.isa.lane_dot(acc[0], numbers, tir.broadcast(tir.int8(1), wide))
        with tir.serial((depth - done) // lanes) as k:
            number = a[span(start + done + k * lanes, lanes)]
            acc[0] = acc[0] + tir.cast(number, f"int32x{lanes}")
        name = f"llvm.vector.reduce.add.v{lanes}i32"
        total = tir.call_llvm_pure_intrin("int32", name, acc[0])
        for k in range(depth // lanes * lanes, depth):
            total = total + tir.cast(a[start + k], "int32")
        return total
