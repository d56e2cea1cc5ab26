"""QuantizeLinear: from row-major float32 into the layout of a quantized tensor."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import Epilogue, splat, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View, align

PACKED = 4
"""Channels of a pixel that is written as one 32-bit number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantize:
    """`func(x, scale[1], y)`: y = clamp(rint(x / scale) + zero_point); NaN gives the lowest.

    The quotient is a float32 division, as ONNX says, not a product with the reciprocal.

    Attributes:
        y: The quantized tensor.
        x: The floats, of y's shape or another one of its elements in row-major order; by
            default they lie in that order.
        dtype: "uint8" or "int8".
        zero_point: Of y.
        lanes: Elements of a vector.
        parallel: Whether threads share the work.
    """

    y: View
    x: View | None = None
    dtype: str
    zero_point: int
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        source = self._source
        layout = self.y.layout
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("quantize")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((source.layout.size,), "float32"))
            scale = tir.arg("scale", tir.Buffer((1,), "float32"))
            y = tir.arg("y", tir.Buffer((layout.size,), self.dtype))
            if self._packs:
                self._pack_pixels(source, x, scale, y)
            else:

                def step(x_spot: Spot, y_spot: Spot) -> None:
                    y_spot.store(y, self._quantized(x_spot, x, scale))

                pair = (source, self.y) if source.shape == self.y.shape else self._aligned
                for_each(pair, step, lanes=self.lanes, parallel=self.parallel)
            fill_halo(y, layout, self.dtype, self.zero_point)
        return builder.get()

    def _quantized(self, spot: Spot, x: Any, scale: Any) -> Expr:
        step = Spot(0, 0, spot.lanes).load(scale)
        return quantized(spot.load(x), step, self.dtype, self.zero_point, spot.lanes)

    def _pack_pixels(self, source: View, x: Any, scale: Any, y: Any) -> None:
        """Emit the interleaving of at most four planes: a vector of pixels at a time.

        The quantized vectors of the planes become the bytes of one vector of 32-bit numbers.
        """
        first = self.y.slice((0, 0, 0, 0), self._plane)
        plane = source.slice((0, 0, 0, 0), self._plane)

        def step(x_spot: Spot, y_spot: Spot) -> None:
            lanes = x_spot.lanes
            pixels = splat("int32", 0, lanes)
            for channel in range(self.y.shape[1]):
                start = x_spot.start + channel * source.strides[1]
                number = self._quantized(dataclasses.replace(x_spot, start=start), x, scale)
                byte = tir.bitwise_and(
                    tir.cast(number, vector("int32", lanes)), splat("int32", 255, lanes)
                )
                pixels = tir.bitwise_or(
                    pixels, tir.shift_left(byte, splat("int32", 8 * channel, lanes))
                )
            packed = tir.reinterpret(vector(self.dtype, PACKED * lanes), pixels)
            Spot(y_spot.start, 1, PACKED * lanes).store(y, packed)

        for_each(
            (plane, first), step, lanes=self.lanes, gather=self.lanes, parallel=self.parallel
        )

    @property
    def _source(self) -> View:
        return View.plain(self.y.shape) if self.x is None else self.x

    @property
    def _aligned(self) -> tuple[View, View]:
        pair = align(self._source, self.y)
        if pair is None:
            raise ValueError(f"no common shape of {self._source.shape} and {self.y.shape}")
        return pair

    @property
    def _packs(self) -> bool:
        """Whether y is a whole image of lines whose pixels are one 32-bit number each."""
        layout = self.y.layout
        whole = layout.image and self.y == View.of(self.y.shape, layout)
        whole = whole and self._source.shape == self.y.shape
        return whole and layout.c_pad == PACKED and layout.w > 1

    @property
    def _plane(self) -> tuple[int, int, int, int]:
        n, _, h, w = self.y.shape
        return n, 1, h, w


def quantized(x: Expr, scale: Expr, dtype: str, zero_point: int, lanes: int) -> Expr:
    """Return `clamp(rint(x / scale) + zero_point)` of float32 vectors; NaN is the lowest."""
    lowest = splat("float32", np.iinfo(dtype).min - zero_point, lanes)
    quotient = x / scale
    ordered = tir.Select(quotient > lowest, quotient, lowest)
    return Epilogue(dtype=dtype, zero_point=zero_point).store(ordered, lanes=lanes)
