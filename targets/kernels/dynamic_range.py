"""DynamicQuantizeLinear, its first half: the scale and zero point that cover a tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.blocks import power_of_two
from qcompile.targets.kernels.epilogue import rounded, span, splat

STEPS = 255
"""From the lowest uint8 to the highest."""

AT_ONCE = 4
"""Vectors that are compared at once, so that none waits for the one before."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicRange:
    """`func(x, scale[1], zero_point[1])`, as ONNX says, in float32 step by step.

    low, high = min(x, 0), max(x, 0)       a NaN counts as nothing
    scale = (high - low) / 255, 1 where the range is empty
    zero_point = rint(clamp(-low / scale, 0, 255)), 255 where that is no number

    Attributes:
        size: Elements of x, float32.
        lanes: 32-bit lanes of a vector.
    """

    size: int
    lanes: int = 16

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("dynamic_range")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.size,), "float32"))
            scale = tir.arg("scale", tir.Buffer((1,), "float32"))
            zero_point = tir.arg("zero_point", tir.Buffer((1,), "uint8"))
            low, high = self._ends(x)
            length = (high - low) / splat("float32", STEPS, 1)
            one = tir.float32(1)
            tir.buffer_store(scale, tir.Select(high > low, length, one), [0])
            steps = (tir.float32(0) - low) / scale[0]
            most = tir.float32(STEPS)
            clamped = tir.Select(steps <= most, steps, most)
            tir.buffer_store(zero_point, tir.cast(rounded(clamped, 1), "uint8"), [0])
        return builder.get()

    def _ends(self, x: Any) -> tuple[Expr, Expr]:
        """Emit the comparisons; return the lowest and the highest, 0 among them."""
        width = min(AT_ONCE * self.lanes, power_of_two(self.size))
        ends: list[tuple[Any, Callable[[Expr, Expr], Expr]]] = [
            (tir.alloc_buffer((width,), "float32", scope="global"), compare)
            for compare in (tir.min, tir.max)
        ]
        for best, _ in ends:
            tir.buffer_store(best, splat("float32", 0, width), [span(0, width)])
        with tir.serial(-(-self.size // width)) as i:
            numbers = x[span(tir.min(i * width, self.size - width), width)]
            for best, compare in ends:
                # The number first: where it is a NaN, both take the second.
                found = compare(numbers, best[span(0, width)])
                tir.buffer_store(best, found, [span(0, width)])
        while width > 1:
            width //= 2
            for best, compare in ends:
                halves = compare(best[span(0, width)], best[span(width, width)])
                tir.buffer_store(best, halves, [span(0, width)])
        (low, _), (high, _) = ends
        return low[0], high[0]
