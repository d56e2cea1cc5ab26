"""MaxPool, AveragePool and GlobalAveragePool of floats, over images."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span, splat, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.pixels import over_channels, over_pixels
from qcompile.targets.kernels.window import Window
from qcompile.targets.layout import Layout

VECTORS = 4
"""Vectors of channels that are done together: sums that do not wait for each other."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatPool:
    """`func(x, y)`: the greatest number of a window, or the mean of those inside the image.

    The sum takes the taps in row-major order and is divided once: the same bits everywhere.
    It differs from the exact mean by at most K units of rounding of the mean magnitude, for
    K taps. A NaN in a window makes its answer NaN.

    Attributes:
        x: The images.
        y: The answers.
        window: Kernel, strides, pads, dilations.
        mean: Whether it is a mean.
        padding: Whether the mean counts the padding, as zeros.
        lanes: Elements of a vector.
        parallel: Whether threads share the work.
    """

    x: Layout
    y: Layout
    window: Window
    mean: bool
    padding: bool = False
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("float_pool")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.size,), "float32"))
            y = tir.arg("y", tir.Buffer((self.y.size,), "float32"))

            def pixel(n: Expr, h: Expr, w: Expr) -> None:
                def channels(first: Expr, width: int) -> None:
                    result = self._answer(x, (n, h, w), first, width)
                    tir.buffer_store(y, result, [span(self.y.at(n, h, w, first), width)])

                stored = min(self.x.c_pad, self.y.c_pad)
                over_channels(stored, VECTORS * self.lanes, channels)

            over_pixels(self.y, pixel, parallel=self.parallel)
            fill_halo(y, self.y, "float32", 0)
        return builder.get()

    def _answer(self, x: Any, place: tuple[Expr, Expr, Expr], first: Expr, width: int) -> Expr:
        n, h, w = place
        held = tir.alloc_buffer((width,), "float32", scope="global")
        every = [span(0, width)]
        start = 0.0 if self.mean else -math.inf
        tir.buffer_store(held, splat("float32", start, width), every)

        def take(line: Expr, pixel: Expr) -> None:
            number, best = x[span(self.x.at(n, line, pixel, first), width)], held[every[0]]
            taken = best + number if self.mean else greater(best, number, width)
            tir.buffer_store(held, taken, every)

        count = self.window.over_taps(self.x, self.y, h, w, take)
        if not self.mean:
            return held[every[0]]
        if self.padding:
            count = math.prod(self.window.kernel)
        divisor = tir.cast(count, "float32")
        return held[every[0]] / (divisor if width == 1 else tir.broadcast(divisor, width))


def greater(best: Expr, number: Expr, lanes: int) -> Expr:
    """Return the greater of two; a NaN among them stays."""
    kind = vector("float32", lanes)
    return tir.call_llvm_pure_intrin(kind, "llvm.maximum", best, number)
