"""QAveragePool: int32 sums over windows, rescaled."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import Epilogue, span, splat, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.pixels import over_channels, over_pixels
from qcompile.targets.kernels.window import Window
from qcompile.targets.layout import Layout

HALVES = 256
"""Most 8-bit numbers whose sum has 16 bits for certain."""

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
        """Return the sum of a window; up to HALVES numbers are first summed in 16 bits."""
        n, h, w = position
        total = _Sum("int32", width)
        taps, neighbours = math.prod(self.window.kernel), self.window.kernel[1]
        half = _Sum("uint16" if self.dtype == "uint8" else "int16", width)
        part = half if neighbours <= HALVES else total

        @contextlib.contextmanager
        def halves() -> Iterator[None]:
            half.clear()
            yield
            total.add(half.vector)

        def add(line: Expr, pixel: Expr) -> None:
            part.add(x[span(self.x.at(n, line, pixel, first), width)])

        total.clear()
        whole, nothing = taps <= HALVES, contextlib.nullcontext
        around = halves if part is half and not whole else nothing
        with halves() if whole else nothing():
            count = self.window.over_taps(self.x, self.y, h, w, add, line=around)
        offset = tir.cast(count * self.x_zero_point, "int32")
        return total.vector - (offset if width == 1 else tir.broadcast(offset, width))


class _Sum:
    """A vector of integers to which others are added."""

    def __init__(self, dtype: str, lanes: int) -> None:
        self._dtype, self._lanes = dtype, lanes
        self._held = tir.alloc_buffer((lanes,), dtype, scope="global")
        self._every = [span(0, lanes)]

    @property
    def vector(self) -> Expr:
        """The sum so far."""
        return self._held[self._every[0]]

    def clear(self) -> None:
        """Emit the start at 0."""
        zero = splat(self._dtype, 0, self._lanes)
        tir.buffer_store(self._held, zero, self._every)

    def add(self, number: Expr) -> None:
        """Emit the addition of integers of fewer bits."""
        wide = tir.cast(number, vector(self._dtype, self._lanes))
        tir.buffer_store(self._held, self.vector + wide, self._every)
