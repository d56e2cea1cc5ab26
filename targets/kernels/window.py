"""The window of a pooling operator: which of its taps lie inside the image."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.layout import Layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """Two numbers each: for lines and for pixels.

    Attributes:
        kernel: Taps.
        strides: Step from one output to the next.
        pads: Positions before the image; those behind follow from the output's size.
        dilations: Distance of taps.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    dilations: tuple[int, int] = (1, 1)

    def taps(self, axis: int, position: Expr, size: int, outputs: int) -> tuple[Expr, Expr]:
        """Return the first tap inside the image and the one after the last.

        Args:
            axis: 0 for lines, 1 for pixels.
            position: Of the output.
            size: Of the image.
            outputs: How many positions there are.
        """
        kernel, dilation, pad = self.kernel[axis], self.dilations[axis], self.pads[axis]
        stride = self.strides[axis]
        first: Expr = 0
        stop: Expr = kernel
        if pad:
            first = tir.max(0, _ceil_div(pad - position * stride, dilation))
        if (outputs - 1) * stride + (kernel - 1) * dilation - pad >= size:
            last = _ceil_div(size + pad - position * stride, dilation)
            stop = tir.max(first, tir.min(kernel, last))
        return first, stop

    def source(self, axis: int, position: Expr, tap: Expr) -> Expr:
        """Return the line or pixel that a tap reads."""
        return position * self.strides[axis] + tap * self.dilations[axis] - self.pads[axis]

    def over_taps(
        self,
        x: Layout,
        y: Layout,
        h: Expr,
        w: Expr,
        body: Callable[[Expr, Expr], None],
        *,
        line: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Expr:
        """Emit the loops over the taps inside the image, and return how many there are.

        Args:
            x: The image.
            y: The output.
            h: Line of the output.
            w: Pixel of the output.
            body: Called with line and pixel of x.
            line: Emits what is done before and after each line of taps.
        """
        top, bottom = self.taps(0, h, x.h, y.h)
        left, right = self.taps(1, w, x.w, y.w)
        with tir.serial(top, bottom) as kh, line(), tir.serial(left, right) as kw:
            body(self.source(0, h, kh), self.source(1, w, kw))
        return (bottom - top) * (right - left)


def _ceil_div(number: Expr, divisor: int) -> Expr:
    return number if divisor == 1 else (number + (divisor - 1)) // divisor
