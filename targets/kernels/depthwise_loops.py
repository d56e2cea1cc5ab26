"""The loops of the depthwise kernel around its walks: bands of rows, strips of channels."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.depthwise_parts import Parts, Place
from qcompile.targets.kernels.depthwise_walk import DepthwiseWalk
from qcompile.targets.kernels.depthwise_window import QUAD
from qcompile.targets.kernels.halo import fill_halo

L1_BYTES = 32 * 1024
"""First-level cache that is there at least."""


@dataclasses.dataclass(frozen=True)
class Bands:
    """Neighbouring bands of output rows, each as many rows as a tile has.

    Attributes:
        first: The first one.
        count: How many.
        parallel: Whether threads share them.
    """

    first: Expr
    count: Expr
    parallel: bool = False


@dataclasses.dataclass(frozen=True)
class DepthwiseLoops:
    """Where the walks of one kernel begin.

    Attributes:
        walk: The kernel and its buffers.
    """

    walk: DepthwiseWalk

    def emit(self) -> None:
        """Emit the whole kernel into the open function.

        Some bands of rows at a time, whose input stays in the second-level cache; of these one
        strip after the other, so that its weights and rows stay in the first.
        """
        conv, y = self.walk.conv, self.walk.conv.y
        fill_halo(self.walk.y, y, conv.epilogue.dtype, conv.epilogue.zero_point)
        bands, chunk = self.bands, self.chunk
        if chunk == 1:
            with (tir.parallel if conv.parallel else tir.serial)(bands) as band:
                self._strips(Bands(band, 1))
            return
        shared = conv.parallel and bands > 1
        with (
            launched() if shared else contextlib.nullcontext(),
            tir.serial(-(-bands // chunk)) as i,
        ):
            count = tir.min(chunk, bands - i * chunk)
            self._strips(Bands(i * chunk, count, parallel=shared))

    @property
    def bands(self) -> int:
        """Bands of output rows, of all images."""
        return self.walk.conv.y.n * -(-self.walk.conv.y.h // self.walk.tile.rows)

    @property
    def chunk(self) -> int:
        """Bands at a time: one, if its input and all weights stay in the first-level cache."""
        conv, x = self.walk.conv, self.walk.conv.x
        read = sum(map(len, conv.window.groups(self.walk.tile.rows)))
        if read * x.stored_w * x.c_pad + int(self.walk.w.shape[0]) <= L1_BYTES:
            return 1
        lines = self.walk.tile.rows * conv.strides[0]
        return max(1, conv.isa.l2_bytes // 4 // (lines * x.stored_w * x.c_pad))

    def _strips(self, bands: Bands) -> None:
        """Compute some bands, strip by strip."""
        size, strips = QUAD * self.walk.conv.isa.lanes, self.walk.conv.strips()
        quads = [i for i, s in enumerate(strips) if (s.channel, s.vectors) == (i * size, QUAD)]
        if quads:
            with tir.serial(len(quads)) as q:
                self._strip(bands, q * size, q * size, QUAD)
        for number, strip in enumerate(strips[len(quads) :], len(quads)):
            self._strip(bands, strip.channel, number * size, strip.vectors)

    def _strip(self, bands: Bands, channel: Expr, packed: Expr, vectors: int) -> None:
        """Compute a strip of some bands."""
        y, rows = self.walk.conv.y, self.walk.tile.rows
        image = -(-y.h // rows)
        with (tir.parallel if bands.parallel else tir.serial)(bands.count) as i:
            n = (bands.first + i) // image
            h = tir.min((bands.first + i) % image * rows, y.h - rows)
            self._line(Place(n, h, 0, channel, packed, Parts(self.walk.conv, vectors)))

    def _line(self, place: Place) -> None:
        """Walk along the line, or along one block of it after the other."""
        width = place.parts.width
        if self.walk.tile.pixels >= self.walk.conv.window.reached(width):
            self.walk.along(place, width)
            return
        pixels = self.walk.tile.pixels
        with tir.serial(-(-width // pixels)) as i:
            self.walk.along(place.at(tir.min(i * pixels, width - pixels)), pixels)


@contextlib.contextmanager
def launched() -> Iterator[None]:
    """Threads run what is emitted inside, each its share of every parallel loop there."""
    with tir.attr(tir.int32(0), "pragma_parallel_launch_point", tir.int32(1)):
        yield
