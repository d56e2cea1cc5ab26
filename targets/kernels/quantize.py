"""QuantizeLinear: from row-major float32 into the layout of a quantized tensor."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import splat, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.quotient import quantized, steps
from qcompile.targets.kernels.strided import NARROW, Spot, for_each
from qcompile.targets.kernels.view import View, align

PACKED = 4
"""Channels of a pixel that is written as one 32-bit number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantize:
    """`func(x, scale[1], y)`: y = clamp(rint(x / scale) + zero_point); NaN gives the lowest.

    The quotient is that of a float32 division, as ONNX says; see `quotient`.

    Attributes:
        y: The quantized tensor.
        x: The floats, of y's shape or another one of its elements in row-major order; by
            default they lie in that order.
        dtype: "uint8" or "int8".
        zero_point: Of y.
        divide: Whether to divide, for a scale that `quotient.must_divide` says.
        lanes: Elements of a vector.
        parallel: Whether threads share the work.
    """

    y: View
    x: View | None = None
    dtype: str
    zero_point: int
    divide: bool = False
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
        number = spot.load(x)
        return quantized(
            number, scale[0], self.dtype, self.zero_point, spot.lanes, divide=self.divide
        )

    def _pack_pixels(self, source: View, x: Any, scale: Any, y: Any) -> None:
        """Emit the loops over pixels that are stored as 32-bit numbers, a vector at a time."""
        first = self.y.slice((0, 0, 0, 0), self._plane)
        plane = source.slice((0, 0, 0, 0), self._plane)
        neighbours = source.strides[1] == 1 and source.strides[3] == PACKED - 1

        def step(x_spot: Spot, y_spot: Spot) -> None:
            pack = self._spaced if neighbours else self._interleaved
            Spot(y_spot.start, 1, PACKED * x_spot.lanes).store(y, pack(x_spot, x, scale))

        for_each(
            (plane, first), step, lanes=self.lanes, gather=self.lanes, parallel=self.parallel
        )

    def _interleaved(self, spot: Spot, x: Any, scale: Any) -> Expr:
        """Return pixels of at most four planes: a plane's numbers become bytes of 32 bits."""
        lanes = spot.lanes
        pixels = splat("int32", 0, lanes)
        for channel in range(self.y.shape[1]):
            start = spot.start + channel * self._source.strides[1]
            number = dataclasses.replace(spot, start=start).load(x)
            byte = steps(
                number, scale[0], self.dtype, self.zero_point, lanes, divide=self.divide
            )
            if self.dtype == "int8":
                byte = tir.bitwise_and(byte, splat("int32", 255, lanes))
            pixels = tir.bitwise_or(
                pixels, tir.shift_left(byte, splat("int32", 8 * channel, lanes))
            )
        return tir.reinterpret(vector(self.dtype, PACKED * lanes), pixels)

    def _spaced(self, spot: Spot, x: Any, scale: Any) -> Expr:
        """Return pixels whose three floats are neighbours: a byte of any value follows each.

        First four pixels, three 32-bit numbers, go into a quarter of the vector each.
        """
        lanes, three = spot.lanes, PACKED - 1
        parts = [
            self._quantized(Spot(spot.start + i * lanes, 1, lanes), x, scale)
            for i in range(three)
        ]
        parts.append(parts[-1])
        if lanes < PACKED:
            return tir.Shuffle(parts, _spread(three, PACKED, lanes))
        joined = tir.Shuffle(parts, list(range(PACKED * lanes)))
        numbers = tir.reinterpret(vector("int32", lanes), joined)
        apart = tir.Shuffle([numbers], _spread(three, PACKED, lanes // PACKED))
        stored = tir.reinterpret(vector(self.dtype, PACKED * lanes), apart)
        quarter = _spread(three, PACKED, PACKED)
        size = PACKED * PACKED
        order = [i * size + place for i in range(lanes // PACKED) for place in quarter]
        return tir.Shuffle([stored], order)

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
        """Whether y is a whole image of lines whose pixels are one 32-bit number each.

        Not where a pixel's four floats lie together, nor where `for_each` would go along
        another axis than the lines.
        """
        layout, source = self.y.layout, self._source
        whole = layout.image and self.y == View.of(self.y.shape, layout)
        whole = whole and source.shape == self.y.shape
        if not whole or layout.c_pad != PACKED or layout.w == 1:
            return False
        together = layout.c == PACKED and source.strides[1] == 1
        return not together and (layout.w >= NARROW or 1 not in source.strides[0:3:2])

    @property
    def _plane(self) -> tuple[int, int, int, int]:
        n, _, h, w = self.y.shape
        return n, 1, h, w


def _spread(size: int, room: int, groups: int) -> list[int]:
    """Return the elements of groups of `size` where each is to have room for more."""
    return [group * size + min(i, size - 1) for group in range(groups) for i in range(room)]
