"""MaxPool on integers: padded positions never win."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span, splat
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.pixels import over_channels, over_pixels
from qcompile.targets.kernels.window import Window
from qcompile.targets.layout import Layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxPool:
    """`func(x, y)`; a window that lies wholly in the padding gives the lowest number.

    Attributes:
        x: The images.
        y: The greatest numbers.
        window: Kernel, strides, pads, dilations.
        dtype: Of both: "uint8" or "int8".
        zero_point: Of both; fills the halo of y.
        lanes: 32-bit lanes of a vector.
        parallel: Whether threads share the work.
    """

    x: Layout
    y: Layout
    window: Window
    dtype: str
    zero_point: int
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("max_pool")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.size,), self.dtype))
            y = tir.arg("y", tir.Buffer((self.y.size,), self.dtype))

            def pixel(n: Expr, h: Expr, w: Expr) -> None:
                def channels(first: Expr, width: int) -> None:
                    greatest = self._greatest(x, (n, h, w), first, width)
                    tir.buffer_store(y, greatest, [span(self.y.at(n, h, w, first), width)])

                stored = min(self.x.c_pad, self.y.c_pad)
                over_channels(stored, 4 * self.lanes, channels)

            over_pixels(self.y, pixel, parallel=self.parallel)
            fill_halo(y, self.y, self.dtype, self.zero_point)
        return builder.get()

    def _greatest(
        self, x: Any, position: tuple[Expr, Expr, Expr], first: Expr, width: int
    ) -> Expr:
        n, h, w = position
        best = tir.alloc_buffer((width,), self.dtype, scope="global")
        every = [span(0, width)]
        lowest = int(np.iinfo(self.dtype).min)
        tir.buffer_store(best, splat(self.dtype, lowest, width), every)

        def compare(line: Expr, pixel: Expr) -> None:
            number = x[span(self.x.at(n, line, pixel, first), width)]
            tir.buffer_store(best, tir.max(best[every[0]], number), every)

        self.window.over_taps(self.x, self.y, h, w, compare)
        return best[every[0]]
