"""ReduceMean and ReduceSum of float rows."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.partial_sums import CHAINS, add, combined


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowMean:
    """`func(x, y)`: y[row] = sum(x[row]) / n, or the sum alone.

    In float32; the sum is that of `partial_sums`, the same on every instruction set.

    Attributes:
        rows: How many.
        channels: n, the numbers of a row; rows follow each other without a gap.
        mean: Whether the sum is divided.
        lanes: 32-bit lanes of a vector register; the answer does not depend on it.
        parallel: Whether threads share the rows.
    """

    rows: int
    channels: int
    mean: bool = True
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("row_mean")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.rows * self.channels,), "float32"))
            y = tir.arg("y", tir.Buffer((self.rows,), "float32"))
            with (tir.parallel if self.parallel else tir.serial)(self.rows) as row:

                def numbers(first: Expr, lanes: int) -> Expr:
                    return x[span(row * self.channels + first, lanes)]

                total = combined(self.channels, numbers, add, 0.0, chains=CHAINS)
                result = total / tir.float32(self.channels) if self.mean else total
                tir.buffer_store(y, result, [row])
        return builder.get()
