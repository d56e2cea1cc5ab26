"""QAveragePool: int32 sums over windows, rescaled."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import Epilogue, span, splat, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.pixels import over_channels, over_pixels
from qcompile.targets.kernels.window import Window
from qcompile.targets.layout import Layout

VECTORS = 4
"""Vectors summed together: a cache line of every pixel is read at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AveragePool:
    """`func(x, multiplier[h * w or 1], y)`: y = finish(sum(x - x_zero_point), multiplier).

    A global pool is a window of the image's size.

    Attributes:
        x: The images.
        y: The means.
        window: Kernel, strides, pads, dilations.
        dtype: Of x: "uint8" or "int8".
        x_zero_point: Of x.
        epilogue: From the sum to y.
        per_position: Whether every output position has its own multiplier: where windows
            hang over the border and the padding does not count.
        lanes: int32 lanes of a vector.
        parallel: Whether threads share the work.
    """

    x: Layout
    y: Layout
    window: Window
    dtype: str
    x_zero_point: int
    epilogue: Epilogue
    per_position: bool = False
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        positions = self.y.h * self.y.w if self.per_position else 1
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("average_pool")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.size,), self.dtype))
            multiplier = tir.arg("multiplier", tir.Buffer((positions,), "float32"))
            y = tir.arg("y", tir.Buffer((self.y.size,), self.epilogue.dtype))

            def pixel(n: Expr, h: Expr, w: Expr) -> None:
                position = h * self.y.w + w if self.per_position else 0

                def channels(first: Expr, width: int) -> None:
                    acc = self._sum(x, (n, h, w), first, width)
                    factor = multiplier[position]
                    factor = factor if width == 1 else tir.broadcast(factor, width)
                    result = self.epilogue.finish(acc, factor, lanes=width)
                    tir.buffer_store(y, result, [span(self.y.at(n, h, w, first), width)])

                stored = min(self.x.c_pad, self.y.c_pad)
                over_channels(stored, VECTORS * self.lanes, channels)

            over_pixels(self.y, pixel, parallel=self.parallel)
            fill_halo(y, self.y, self.epilogue.dtype, self.epilogue.zero_point)
        return builder.get()

    def _sum(self, x: Any, position: tuple[Expr, Expr, Expr], first: Expr, width: int) -> Expr:
        n, h, w = position
        acc = tir.alloc_buffer((width,), "int32", scope="global")
        every = [span(0, width)]
        tir.buffer_store(acc, splat("int32", 0, width), every)

        def add(line: Expr, pixel: Expr) -> None:
            number = x[span(self.x.at(n, line, pixel, first), width)]
            total = acc[every[0]] + tir.cast(number, vector("int32", width))
            tir.buffer_store(acc, total, every)

        count = self.window.over_taps(self.x, self.y, h, w, add)
        offset = tir.cast(count * self.x_zero_point, "int32")
        return acc[every[0]] - (offset if width == 1 else tir.broadcast(offset, width))
