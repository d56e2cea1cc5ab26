"""Sums over the rows of the left side of a matrix product."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.blocks import Registers
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowSums:
    """`func(a, zero_point int32[1], y)`: y[row] = (shift - zero_point) * sum(a[row, :]).

    Attributes:
        a: The matrices [..., K], whose last axis has stride 1.
        dtype: Of a.
        shift: See above.
        lanes: int32 lanes of a vector.
        parallel: Whether threads share the work.
    """

    a: View
    dtype: str
    shift: int = 0
    lanes: int = 16
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
        depth, lanes = self.a.shape[-1], self.lanes
        whole = depth // lanes * lanes
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("row_sums")
            tir.func_attr({"tirx.noalias": True})
            a = tir.arg("a", tir.Buffer((self.a.layout.size,), self.dtype))
            zero_point = tir.arg("zero_point", tir.Buffer((1,), "int32"))
            y = tir.arg("y", tir.Buffer((self.rows,), "int32"))
            with (tir.parallel if self.parallel else tir.serial)(self.rows) as row:
                start = leading.at(row)
                acc = Registers(1, lanes)
                acc[0] = tir.broadcast(tir.int32(0), lanes)
                with tir.serial(depth // lanes) as k:
                    number = a[span(start + k * lanes, lanes)]
                    acc[0] = acc[0] + tir.cast(number, f"int32x{lanes}")
                total = _across(acc[0], lanes)
                for k in range(whole, depth):
                    total = total + tir.cast(a[start + k], "int32")
                tir.buffer_store(y, (self.shift - zero_point[0]) * total, [row])
        return builder.get()


def _across(vector: Any, lanes: int) -> Any:
    """Return the sum of the lanes of an int32 vector."""
    return tir.call_llvm_pure_intrin("int32", f"llvm.vector.reduce.add.v{lanes}i32", vector)
