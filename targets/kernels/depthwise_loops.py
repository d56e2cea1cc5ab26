"""The loops of the depthwise kernel: rows, strips of channels, pixels, columns, dots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels import edges
from qcompile.targets.kernels.blocks import Registers, widened
from qcompile.targets.kernels.depthwise_window import QUAD, WindowTile
from qcompile.targets.kernels.epilogue import centered, rescale, span
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.interleave import operands, restore, scatter

if TYPE_CHECKING:
    from qcompile.targets.kernels.depthwise_conv import DepthwiseConv


At = Callable[[int, int, int], int]
"""The number of an accumulator: (row, pixel, vector)."""


@dataclasses.dataclass(frozen=True)
class Place:
    """What is computed: an image, its first row and pixel, the first channel.

    Attributes:
        n: Image.
        h: First output row.
        w: First output pixel.
        channel: First channel.
        packed: The strip's first lane in the packed constants.
        vectors: Vectors of the strip.
    """

    n: Expr
    h: Expr
    w: Expr
    channel: Expr
    packed: Expr
    vectors: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthwiseLoops:
    """One kernel while it is being emitted: what to compute, and its buffers.

    `r` and `scale` are the residual and its multiplier, or None.
    """

    conv: DepthwiseConv
    tile: WindowTile
    x: Any
    w: Any
    bias: Any
    multiplier: Any
    r: Any
    scale: Any
    y: Any

    def emit(self) -> None:
        """Emit the whole kernel into the open function."""
        conv, y, lanes = self.conv, self.conv.y, self.conv.isa.lanes
        fill_halo(self.y, y, conv.epilogue.dtype, conv.epilogue.zero_point)
        bands = -(-y.h // self.tile.rows)
        strips = conv.strips()
        quads = [s for s in strips if s.vectors == QUAD and s.channel % (QUAD * lanes) == 0]
        size = QUAD * lanes
        with (tir.parallel if conv.parallel else tir.serial)(y.n * bands) as band:
            n = band // bands
            h = tir.min(band % bands * self.tile.rows, y.h - self.tile.rows)
            if quads:
                with tir.serial(len(quads)) as q:
                    self._line(Place(n, h, 0, q * size, q * size, QUAD))
            packed = len(quads) * size
            for strip in strips[len(quads) :]:
                self._line(Place(n, h, 0, strip.channel, packed, strip.vectors))
                packed += strip.vectors * lanes

    def _line(self, place: Place) -> None:
        width, pixels = self.conv.y.w, self.tile.pixels
        with tir.serial(-(-width // pixels)) as i:
            w = tir.min(i * pixels, width - pixels)
            self._tile(dataclasses.replace(place, w=w))

    def _tile(self, place: Place) -> None:
        """Compute and store one tile, its accumulators in registers."""
        lanes, rows, pixels = self.conv.isa.lanes, self.tile.rows, self.tile.pixels
        acc = Registers(rows * pixels * place.vectors, lanes)

        def at(row: int, pixel: int, vector: int) -> int:
            return (row * pixels + pixel) * place.vectors + vector

        outputs = [(row, pixel) for row in range(rows) for pixel in range(pixels)]
        for row, pixel in outputs:
            for vector in range(place.vectors):
                bias = self.bias[span(place.packed + vector * lanes, lanes)]
                acc[at(row, pixel, vector)] = bias
        self._accumulate(place, acc, at)
        for row, pixel in outputs:
            sums = [acc[at(row, pixel, vector)] for vector in range(place.vectors)]
            self._store(place, row, pixel, sums)

    def _accumulate(self, place: Place, acc: Registers, at: At) -> None:
        """Take each column once: interleave its rows, then do every dot that reads it."""
        isa, window, lanes = self.conv.isa, self.conv.window, self.conv.isa.lanes
        dots = window.dots(self.tile)
        for column in window.columns(self.tile):
            for group, rows in enumerate(window.groups(self.tile)):
                packed = self._operands(place, column, rows)
                for number, dot in enumerate(dots):
                    pixel, inside = divmod(
                        column - window.column(0, dot.kw), self.conv.strides[1]
                    )
                    if dot.group != group or inside or not 0 <= pixel < self.tile.pixels:
                        continue
                    start = place.packed * isa.taps * len(dots)
                    start += number * place.vectors * isa.taps * lanes
                    weights = self._weights(start, place.vectors)
                    for vector, (a, w) in enumerate(zip(packed, weights, strict=True)):
                        where = at(dot.row, pixel, vector)
                        acc[where] = isa.lane_dot(acc[where], a, w)

    def _weights(self, start: Expr, vectors: int) -> list[Expr]:
        """Return the weight operands of a dot, one for each vector of channels."""
        lanes, taps = self.conv.isa.lanes, self.conv.isa.taps
        if taps == 1:
            return widened(self.w, start, lanes, vectors)
        size = taps * lanes
        return [self.w[span(start + vector * size, size)] for vector in range(vectors)]

    def _operands(self, place: Place, column: int, rows: list[int]) -> list[Expr]:
        """Return the dot operands of a group of input rows, at one column."""
        conv, lanes = self.conv, self.conv.isa.lanes
        top = place.h * conv.strides[0] - conv.pads[0]
        left = place.w * conv.strides[1] - conv.pads[1]
        starts = [conv.x.at(place.n, top + row, left + column, place.channel) for row in rows]
        if conv.isa.taps == 1:
            return widened(self.x, starts[0], lanes, place.vectors)
        loaded = [self.x[span(start, place.vectors * lanes)] for start in starts]
        return operands(loaded, lanes, place.vectors)

    def _store(self, place: Place, row: int, pixel: int, sums: list[Expr]) -> None:
        conv, lanes = self.conv, self.conv.isa.lanes
        residuals = self._residuals(place, row, pixel)
        results = [
            rescale(
                total,
                self.multiplier[span(place.packed + vector * lanes, lanes)],
                lanes=lanes,
                residual=residual,
                r_multiplier=None if residual is None else self._r_multiplier(),
            )
            for vector, (total, residual) in enumerate(zip(sums, residuals, strict=True))
        ]
        index = conv.y.at(place.n, place.h + row, place.w + pixel, place.channel)
        if place.vectors == QUAD:
            tir.buffer_store(self.y, self._narrow(results), [span(index, QUAD * lanes)])
            return
        room, dtype = self._room(place, conv.y.c_pad), conv.epilogue.dtype
        value = conv.epilogue.store(results[0], lanes=lanes)
        edges.save(self.y, index, value, lanes, room, dtype)

    def _narrow(self, results: list[Expr]) -> Expr:
        isa, epilogue = self.conv.isa, self.conv.epilogue
        if isa.narrow_quad is not None and epilogue.dtype != "float32":
            return isa.narrow_quad(results, epilogue)
        return restore([epilogue.store(t, lanes=isa.lanes) for t in results], isa.lanes)

    def _r_multiplier(self) -> Expr:
        return tir.broadcast(self.scale[0], self.conv.isa.lanes)

    def _residuals(self, place: Place, row: int, pixel: int) -> list[Expr | None]:
        conv, lanes = self.conv, self.conv.isa.lanes
        if conv.residual is None:
            return [None] * place.vectors
        index = conv.residual.at(place.n, place.h + row, place.w + pixel, place.channel)
        if place.vectors == QUAD:
            stored = scatter(self.r[span(index, QUAD * lanes)], lanes)
        else:
            room = self._room(place, conv.residual.c_pad)
            stored = [edges.load(self.r, index, lanes, room, conv.r_dtype)]
        return [centered(vector, conv.r_zero_point, lanes=lanes) for vector in stored]

    def _room(self, place: Place, c_pad: int) -> int:
        """Return how many lanes of a single vector lie inside the stored channels."""
        assert isinstance(place.channel, int)
        return min(self.conv.isa.lanes, c_pad - place.channel)
