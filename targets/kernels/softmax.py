"""QSoftmax over the channels of every pixel or row."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import Epilogue, span, splat, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.kept import spread
from qcompile.targets.kernels.lookup import ENTRIES
from qcompile.targets.kernels.pixels import over_channels, over_pixels
from qcompile.targets.layout import Layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Softmax:
    """`func(x, table[256], multiplier[1], y)`: over the last axis of rows, axis 1 of images.

    e = table[max(x) - x]        y = finish((float32(e) * multiplier) / float32(sum(e)))

    Attributes:
        x: The scores.
        y: The shares.
        dtype: Of x: "uint8" or "int8".
        epilogue: From the share to y.
        lanes: int32 lanes of a vector.
        parallel: Whether threads share the work.
    """

    x: Layout
    y: Layout
    dtype: str
    epilogue: Epilogue
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("softmax")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.size,), self.dtype))
            table = tir.arg("table", tir.Buffer((ENTRIES,), "int32"))
            multiplier = tir.arg("multiplier", tir.Buffer((1,), "float32"))
            y = tir.arg("y", tir.Buffer((self.y.size,), self.epilogue.dtype))

            def pixel(n: Expr, h: Expr, w: Expr) -> None:
                row = self.x.at(n, h, w, 0)
                greatest = self._greatest(x, row)
                total = tir.alloc_buffer((1,), "int32", scope="global")
                tir.buffer_store(total, tir.int32(0), [0])
                with tir.serial(self.x.c) as c:
                    entry = table[greatest[0] - tir.cast(x[row + c], "int32")]
                    tir.buffer_store(total, total[0] + entry, [0])

                def channels(first: Expr, lanes: int) -> None:
                    number = tir.cast(x[span(row + first, lanes)], vector("int32", lanes))
                    entry = table[spread(greatest[0], lanes) - number]
                    share = tir.cast(entry, vector("float32", lanes))
                    share = share * spread(multiplier[0], lanes)
                    share = share / spread(tir.cast(total[0], "float32"), lanes)
                    result = self.epilogue.store(share, lanes=lanes)
                    tir.buffer_store(y, result, [span(self.y.at(n, h, w, first), lanes)])

                over_channels(self.x.c, self.lanes, channels)

            over_pixels(self.x, pixel, parallel=self.parallel)
            fill_halo(y, self.y, self.epilogue.dtype, self.epilogue.zero_point)
        return builder.get()

    def _greatest(self, x: Any, row: Expr) -> Any:
        """Emit the maximum of a row; return a buffer that holds it, as int32, at 0."""
        width = min(4 * self.lanes, 1 << (self.x.c.bit_length() - 1))
        best = tir.alloc_buffer((width,), self.dtype, scope="global")
        lowest = int(np.iinfo(self.dtype).min)
        tir.buffer_store(best, splat(self.dtype, lowest, width), [span(0, width)])

        def compare(first: Expr, width: int) -> None:
            number = x[span(row + first, width)]
            tir.buffer_store(best, tir.max(best[span(0, width)], number), [span(0, width)])

        over_channels(self.x.c, width, compare)
        while width > 1:
            width //= 2
            halves = tir.max(best[span(0, width)], best[span(width, width)])
            tir.buffer_store(best, halves, [span(0, width)])
        greatest = tir.alloc_buffer((1,), "int32", scope="global")
        tir.buffer_store(greatest, tir.cast(best[0], "int32"), [0])
        return greatest
