"""The end of a dense tile: its sums become numbers, and these are stored."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels import edges
from qcompile.targets.kernels.blocks import part, power_of_two
from qcompile.targets.kernels.epilogue import centered, rescale, span
from qcompile.targets.layout import Layout

if TYPE_CHECKING:
    from qcompile.targets.kernels.dense_conv import DenseConv


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """Neighbouring output channels that one pass over the pixels computes.

    Attributes:
        first: Its first vector of output channels.
        vectors: How many vectors it has.
        base: The first input channel that it reads.
    """

    first: Any
    vectors: int
    base: Any


@dataclasses.dataclass(frozen=True)
class Position:
    """The tile that is computed: image, line, first pixel of the line."""

    n: Expr
    h: Expr
    w: Expr


Pixel = tuple[int, int]
"""Line and column inside a tile."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A vector of output channels of a pixel.

    Attributes:
        pixel: Where in the tile.
        vector: Which of the block.
        total: The sum, int32[lanes].
    """

    pixel: Pixel
    vector: int
    total: Expr


@dataclasses.dataclass(frozen=True)
class DenseStore:
    """What finishing a pixel needs: the kernel and its buffers.

    `r` and `scale` are the residual and its multiplier, or None; `addend` is added in float.
    """

    conv: DenseConv
    multiplier: Any
    r: Any
    scale: Any
    addend: Any
    y: Any

    def tile(self, block: Block, position: Position, sums: Mapping[Pixel, list[Expr]]) -> None:
        """Finish and store a tile: as many results at once as the set narrows together.

        Args:
            block: The output channels.
            position: The tile.
            sums: Of every pixel, line by line, one for each vector of the block.
        """
        results = [
            Result(pixel, v, total)
            for pixel, totals in sums.items()
            for v, total in enumerate(totals)
        ]
        most = self.conv.isa.joined if self._joins(block) else 1
        done = 0
        while done < len(results):
            together = min(most, power_of_two(len(results) - done))
            group = results[done : done + together]
            if together > 1:
                self._store_joined(block, position, group)
            else:
                self._store_vector(block, position, *group)
            done += together

    def _joins(self, block: Block) -> bool:
        """Whether results are narrowed together: none ends inside the stored channels."""
        conv = self.conv
        _, y, r = conv.views()
        channels = conv.vectors * conv.isa.lanes
        whole = all(layout.c_pad >= channels for layout in (y, *([r] if r else [])))
        whole = whole or not isinstance(block.first, int)
        return whole and conv.isa.narrow is not None and conv.epilogue.dtype != "float32"

    def _store_joined(self, block: Block, position: Position, results: list[Result]) -> None:
        """Store results together, and those that are neighbours in memory at once."""
        conv, lanes = self.conv, self.conv.isa.lanes
        assert conv.isa.narrow is not None
        _, y, _ = conv.views()
        residuals = self._residuals(block, position, results)
        reals = [
            self._rescaled(block, result, residual)
            for result, residual in zip(results, residuals, strict=True)
        ]
        stored = conv.isa.narrow(reals, conv.epilogue)
        first = 0
        for run in self._runs(block, results, y):
            value = stored if run == len(results) else part(stored, first, lanes, run)
            index = self._index(y, block, position, results[first])
            tir.buffer_store(self.y, value, [span(index, run * lanes)])
            first += run

    def _residuals(
        self, block: Block, position: Position, results: list[Result]
    ) -> list[Expr | None]:
        """Return what is added to results, float32[lanes] each, if anything."""
        _, _, r = self.conv.views()
        if r is None:
            return [self._addend(block, result) for result in results]
        lanes = self.conv.isa.lanes
        found: list[Expr | None] = []
        for run in self._runs(block, results, r):
            index = self._index(r, block, position, results[len(found)])
            stored = self.r[span(index, run * lanes)]
            found += [self._real(part(stored, i, lanes), lanes) for i in range(run)]
        return found

    def _runs(self, block: Block, results: list[Result], layout: Layout) -> list[int]:
        """Return how many results lie one after the other in a tensor, each time.

        A pixel's do, up to the end of `layout.run`; the next pixel of the line follows where
        the block is all of it.
        """
        lanes = self.conv.isa.lanes
        whole = block.vectors * lanes == layout.run
        runs = [1]
        for before, after in itertools.pairwise(results):
            line, column = before.pixel
            same = after.pixel == before.pixel and self._inside(layout, after.vector * lanes)
            if same or (whole and after.pixel == (line, column + 1)):
                runs[-1] += 1
            else:
                runs.append(1)
        return runs

    def _inside(self, layout: Layout, channel: int) -> bool:
        """Whether a channel of any block is known to follow the one before."""
        block = self.conv.width * self.conv.isa.lanes
        if layout.run == layout.c_pad or layout.run % block == 0:
            return True
        return block % layout.run == 0 and channel % layout.run != 0

    def _store_vector(self, block: Block, position: Position, result: Result) -> None:
        conv, lanes = self.conv, self.conv.isa.lanes
        _, y, r = conv.views()
        residual = self._addend(block, result)
        if r is not None:
            index = self._index(r, block, position, result)
            room = self._room(block, result.vector, r.c_pad)
            stored = edges.load(self.r, index, lanes, room, conv.r_dtype)
            residual = self._real(stored, lanes)
        value = conv.epilogue.store(self._rescaled(block, result, residual), lanes=lanes)
        room = self._room(block, result.vector, y.c_pad)
        width = lanes if y.run == y.c_pad else math.gcd(lanes, y.run)
        for first in range(0, room, width):
            index = self._index(y, block, position, result, first)
            some = value if width == lanes else part(value, first, 1, width)
            edges.save(self.y, index, some, width, min(room, width), conv.epilogue.dtype)

    def _rescaled(self, block: Block, result: Result, residual: Expr | None) -> Expr:
        """Return a result as a real number, float32[lanes]."""
        lanes = self.conv.isa.lanes
        return rescale(
            result.total,
            self.multiplier[span(self._channel(block, result), lanes)],
            lanes=lanes,
            residual=residual,
            r_multiplier=None if residual is None else self._r_multiplier(),
        )

    def _addend(self, block: Block, result: Result) -> Expr | None:
        """Return the numbers that are added a channel, if any."""
        if self.addend is None:
            return None
        return self.addend[span(self._channel(block, result), self.conv.isa.lanes)]

    def _channel(self, block: Block, result: Result) -> Expr:
        return (block.first + result.vector) * self.conv.isa.lanes

    def _index(
        self,
        layout: Layout,
        block: Block,
        position: Position,
        result: Result,
        first: int = 0,
    ) -> Expr:
        """Return where a result lies in a tensor, from one of its channels on."""
        line, column = result.pixel
        channel = self._channel(block, result) + first
        return layout.at(position.n, position.h + line, position.w + column, channel)

    def _real(self, stored: Expr, lanes: int) -> Expr:
        """Return the numbers of a stored residual, float32[lanes]."""
        if self.conv.r_dtype == "float32":
            return stored
        return centered(stored, self.conv.r_zero_point, lanes=lanes)

    def _r_multiplier(self) -> Expr:
        """Return the residual's multiplier; a float has 1, which changes nothing."""
        one = self.scale[0] if self.scale is not None else tir.float32(1)
        return tir.broadcast(one, self.conv.isa.lanes)

    def _room(self, block: Block, v: int, c_pad: int) -> int:
        """Return how many lanes of a vector lie inside the stored channels of a pixel."""
        lanes = self.conv.isa.lanes
        if c_pad >= self.conv.vectors * lanes or not isinstance(block.first, int):
            return lanes
        return min(lanes, c_pad - (block.first + v) * lanes)
