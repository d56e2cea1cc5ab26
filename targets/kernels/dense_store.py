"""The end of a dense tile: its sums become numbers, and these are stored."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels import edges
from qcompile.targets.kernels.blocks import part, power_of_two
from qcompile.targets.kernels.epilogue import centered, rescale, span

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

    def pixel(self, block: Block, position: Position, p: int, sums: list[Expr]) -> None:
        """Finish and store a pixel: as many vectors at once as the set narrows together."""
        conv, isa = self.conv, self.conv.isa
        _, y, r = conv.views()
        channels = conv.vectors * isa.lanes
        whole = all(layout.c_pad >= channels for layout in (y, *([r] if r else [])))
        whole = whole or not isinstance(block.first, int)
        v = 0
        while v < len(sums):
            together = 1
            if isa.narrow is not None and conv.epilogue.dtype != "float32" and whole:
                together = min(isa.joined, power_of_two(len(sums) - v))
            if together > 1:
                self._store_joined(block, position, p, v, sums[v : v + together])
            else:
                self._store_vector(block, position, p, v, sums[v])
            v += together

    def _store_joined(
        self, block: Block, position: Position, p: int, v: int, sums: list[Expr]
    ) -> None:
        conv, isa = self.conv, self.conv.isa
        _, y, r = conv.views()
        size = len(sums) * isa.lanes
        channel = (block.first + v) * isa.lanes
        residuals: list[Expr | None] = [None] * len(sums)
        if r is not None:
            index = r.at(position.n, position.h, position.w + p, channel)
            stored = self._real(self.r[span(index, size)], size)
            residuals = [part(stored, i, isa.lanes) for i in range(len(sums))]
        if self.addend is not None:
            starts = [channel + i * isa.lanes for i in range(len(sums))]
            residuals = [self.addend[span(start, isa.lanes)] for start in starts]
        results = [
            rescale(
                total,
                self.multiplier[span(channel + i * isa.lanes, isa.lanes)],
                lanes=isa.lanes,
                residual=residual,
                r_multiplier=None if residual is None else self._r_multiplier(),
            )
            for i, (total, residual) in enumerate(zip(sums, residuals, strict=True))
        ]
        index = y.at(position.n, position.h, position.w + p, channel)
        assert isa.narrow is not None
        tir.buffer_store(self.y, isa.narrow(results, conv.epilogue), [span(index, size)])

    def _store_vector(
        self, block: Block, position: Position, p: int, v: int, acc: Expr
    ) -> None:
        conv, lanes = self.conv, self.conv.isa.lanes
        _, y, r = conv.views()
        channel = (block.first + v) * lanes
        residual = r_multiplier = None
        if r is not None:
            index = r.at(position.n, position.h, position.w + p, channel)
            room = self._room(block, v, r.c_pad)
            stored = edges.load(self.r, index, lanes, room, conv.r_dtype)
            residual = self._real(stored, lanes)
            r_multiplier = self._r_multiplier()
        if self.addend is not None:
            residual, r_multiplier = self.addend[span(channel, lanes)], self._r_multiplier()
        result = conv.epilogue.finish(
            acc,
            self.multiplier[span(channel, lanes)],
            lanes=lanes,
            residual=residual,
            r_multiplier=r_multiplier,
        )
        index = y.at(position.n, position.h, position.w + p, channel)
        room = self._room(block, v, y.c_pad)
        edges.save(self.y, index, result, lanes, room, conv.epilogue.dtype)

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
