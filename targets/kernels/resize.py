"""QResize: images between their pixels, a vector of channels at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import Epilogue, span, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.pixels import over_channels
from qcompile.targets.kernels.view import View

VECTORS = 2
"""Vectors interpolated together."""

ONE = 1 << 22
"""What the four weights of one number sum to."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resize:
    """`func(x, row_index, row_weight, column_index, column_weight, multiplier[1], y)`.

    acc = sum over i, j of row_weight[h, i] * column_weight[w, j]
          * x[n, c, row_index[h, i], column_index[w, j]] - 2**22 * x_zero_point

    Attributes:
        x: Images (N, C, H, W); where axis 1 is not contiguous, a vector is one number.
        y: The resized images; their indices and weights are int32[H * 2] and int32[W * 2].
        dtype: Of x: "uint8" or "int8".
        x_zero_point: Of x.
        epilogue: From the sum to y.
        lanes: int32 lanes of a vector.
        parallel: Whether threads share the work.
    """

    x: View
    y: View
    dtype: str
    x_zero_point: int
    epilogue: Epilogue
    lanes: int = 16
    parallel: bool = False

    def __post_init__(self) -> None:
        if len(self.x.shape) != 4 or self.x.shape[:2] != self.y.shape[:2]:
            raise ValueError(f"images of {self.x.shape} do not become {self.y.shape}")

    def func(self) -> Any:
        """Return the PrimFunc."""
        n, _, h, w = self.y.shape
        sizes = (2 * h, 2 * h, 2 * w, 2 * w)
        names = ("row_index", "row_weight", "column_index", "column_weight")
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("resize")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.layout.size,), self.dtype))
            tables = [
                tir.arg(name, tir.Buffer((size,), "int32"))
                for name, size in zip(names, sizes, strict=True)
            ]
            multiplier = tir.arg("multiplier", tir.Buffer((1,), "float32"))
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.epilogue.dtype))
            loop = tir.parallel if self.parallel else tir.serial
            with loop(n * h) as line, tir.serial(w) as column:
                self._pixel(x, tables, multiplier, y, (line // h, line % h, column))
            fill_halo(y, self.y.layout, self.epilogue.dtype, self.epilogue.zero_point)
        return builder.get()

    def _pixel(
        self,
        x: Any,
        tables: Sequence[Any],
        multiplier: Any,
        y: Any,
        place: tuple[Expr, Expr, Expr],
    ) -> None:
        n, line, column = place
        rows, row_weights, columns, column_weights = tables

        def channels(first: Expr, width: int) -> None:
            def spread(number: Expr) -> Expr:
                return number if width == 1 else tir.broadcast(number, width)

            acc = spread(tir.int32(-ONE * self.x_zero_point))
            for i in range(2):
                for j in range(2):
                    weight = row_weights[2 * line + i] * column_weights[2 * column + j]
                    pixel = (n, rows[2 * line + i], columns[2 * column + j])
                    number = x[span(_address(self.x, pixel, first), width)]
                    acc = acc + tir.cast(number, vector("int32", width)) * spread(weight)
            result = self.epilogue.finish(acc, spread(multiplier[0]), lanes=width)
            tir.buffer_store(y, result, [span(_address(self.y, place, first), width)])

        over_channels(self._channels, VECTORS * self.lanes, channels)

    @property
    def _channels(self) -> int:
        """Channels in memory, padding included, where they lie side by side."""
        images = [view for view in (self.x, self.y) if view.layout.image]
        if len(images) < 2:
            return self.y.shape[1]
        return min(view.layout.c_pad for view in images)


def _address(view: View, pixel: Sequence[Expr], channel: Expr) -> Expr:
    n, h, w = pixel
    strides = view.strides
    return (
        view.offset + n * strides[0] + channel * strides[1] + h * strides[2] + w * strides[3]
    )
