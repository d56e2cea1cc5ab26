"""The loops of the dense kernel: chunks of pixels, blocks of channels, tiles, taps, steps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels import edges
from qcompile.targets.kernels.epilogue import centered, span
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.tiles import CHUNKS, split

if TYPE_CHECKING:
    from qcompile.targets.kernels.dense_conv import DenseConv

ENOUGH = 10
"""Independent accumulators that hide a latency of five cycles at two dots a cycle."""


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseLoops:
    """One kernel while it is being emitted: what to compute, and its buffers.

    `r` and `scale` are the residual and its multiplier, or None.
    """

    conv: DenseConv
    x: Any
    w: Any
    base: Any
    bias: Any
    multiplier: Any
    r: Any
    scale: Any
    y: Any

    def emit(self) -> None:
        """Emit the whole kernel into the open function."""
        conv = self.conv
        _, y, _ = conv.views()
        assert conv.tile is not None
        fill_halo(self.y, y, conv.epilogue.dtype, conv.epilogue.zero_point)
        per_line = -(-y.w // self.pixels)
        total = y.n * y.h * per_line
        chunk = min(conv.tile.chunk, total)
        if conv.parallel:
            chunk = min(chunk, split(total, per_line, CHUNKS))
        chunks = -(-total // chunk)
        shared = conv.parallel and chunks > 1
        with (tir.parallel if shared else tir.serial)(chunks) as c:
            size = chunk if total % chunk == 0 else tir.min(chunk, total - c * chunk)
            self._blocks(c * chunk, size, shared=conv.parallel and not shared)

    @property
    def pixels(self) -> int:
        """Pixels of a tile; a line that is shorter is one tile."""
        assert self.conv.tile is not None
        return min(self.conv.tile.pixels, self.conv.views()[1].w)

    def _blocks(self, start: Expr, size: Expr, *, shared: bool) -> None:
        """Do all channels of the tiles from `start` on.

        Blocks of full width are a loop; the last is by itself where it is narrower, or where
        the stored channels end inside its last vector.
        """
        blocks = self.conv.blocks()
        layouts = [self.conv.y, *([self.conv.residual] if self.conv.residual else [])]
        channels = self.conv.vectors * self.conv.isa.lanes
        ends_inside = any(layout.c_pad < channels for layout in layouts)
        alone = ends_inside or blocks[-1].vectors < self.conv.width
        looped = len(blocks) - alone
        if looped:
            with (tir.parallel if shared else tir.serial)(looped) as j:
                base = self.base[j] if self.conv.group > 1 else 0
                block = Block(first=j * self.conv.width, vectors=self.conv.width, base=base)
                self._tiles(block, start, size)
        if alone:
            self._tiles(blocks[-1], start, size)

    def _tiles(self, block: Block, start: Expr, size: Expr) -> None:
        _, y, _ = self.conv.views()
        per_line = -(-y.w // self.pixels)
        with tir.serial(size) as i:
            t = start + i
            position = Position(
                n=t // (y.h * per_line),
                h=t // per_line % y.h,
                w=tir.min(t % per_line * self.pixels, y.w - self.pixels),
            )
            self._tile(block, position)

    def _tile(self, block: Block, position: Position) -> None:
        """Compute and store one tile, its accumulators in registers."""
        lanes = self.conv.isa.lanes
        chains = self._chains(block)
        places = [(p, v) for p in range(self.pixels) for v in range(block.vectors)]
        acc = tir.alloc_buffer((chains * len(places) * lanes,), "int32", scope="local")

        def at(p: int, v: int, chain: int = 0) -> Expr:
            index = (chain * self.pixels + p) * block.vectors + v
            return tir.ramp(index * lanes, 1, lanes)

        for p, v in places:
            bias = self.bias[span((block.first + v) * lanes, lanes)]
            tir.buffer_store(acc, bias, [at(p, v)])
            for chain in range(1, chains):
                zeros = tir.broadcast(tir.int32(0), lanes)
                tir.buffer_store(acc, zeros, [at(p, v, chain)])
        self._accumulate(block, position, acc, at, chains)
        for p, v in places:
            total = acc[at(p, v)]
            for chain in range(1, chains):
                total = total + acc[at(p, v, chain)]
            self._store(block, position, p, v, total)

    def _chains(self, block: Block) -> int:
        """Return into how many independent sums the steps of a small tile are split."""
        steps = self.conv.k_steps(self.conv.width)
        dots = self.pixels * block.vectors
        chains = 1
        while (
            chains * dots < ENOUGH
            and steps % (2 * chains) == 0
            and 2 * chains * dots + 2 <= self.conv.isa.registers
        ):
            chains *= 2
        return chains

    def _accumulate(
        self, block: Block, position: Position, acc: Any, at: Any, chains: int
    ) -> None:
        conv, isa = self.conv, self.conv.isa
        x, _, _ = conv.views()
        steps = conv.k_steps(conv.width)
        step_weights = block.vectors * isa.lanes * isa.k_group
        with (
            tir.serial(conv.kernel[0]) as kh,
            tir.serial(conv.kernel[1]) as kw,
            tir.serial(steps // chains) as outer,
        ):
            h = position.h * conv.strides[0] + kh * conv.dilations[0] - conv.pads[0]
            w = position.w * conv.strides[1] + kw * conv.dilations[1] - conv.pads[1]
            tap = kh * conv.kernel[1] + kw
            for chain in range(chains):
                k = outer * chains + chain
                source = x.at(position.n, h, w, block.base + k * isa.k_group)
                weights = block.first * conv.vector_weights + (tap * steps + k) * step_weights
                for p, v in self._order(block):
                    a = isa.broadcast(self.x, source + p * conv.strides[1] * x.c_pad)
                    b = isa.weights(self.w, weights + v * isa.lanes * isa.k_group)
                    place = at(p, v, chain)
                    tir.buffer_store(acc, isa.dot(acc[place], a, b), [place])

    def _order(self, block: Block) -> list[tuple[int, int]]:
        """Return the dots so that the fewer operands stay in registers."""
        if block.vectors <= self.pixels:
            return [(p, v) for p in range(self.pixels) for v in range(block.vectors)]
        return [(p, v) for v in range(block.vectors) for p in range(self.pixels)]

    def _store(self, block: Block, position: Position, p: int, v: int, acc: Expr) -> None:
        conv, lanes = self.conv, self.conv.isa.lanes
        _, y, r = conv.views()
        channel = (block.first + v) * lanes
        residual = r_multiplier = None
        if r is not None:
            index = r.at(position.n, position.h, position.w + p, channel)
            room = self._room(block, v, r.c_pad)
            stored = edges.load(self.r, index, lanes, room, conv.r_dtype)
            residual = centered(stored, conv.r_zero_point, lanes=lanes)
            r_multiplier = tir.broadcast(self.scale[0], lanes)
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

    def _room(self, block: Block, v: int, c_pad: int) -> int:
        """Return how many lanes of a vector lie inside the stored channels of a pixel."""
        lanes = self.conv.isa.lanes
        if c_pad >= self.conv.vectors * lanes or not isinstance(block.first, int):
            return lanes
        return min(lanes, c_pad - (block.first + v) * lanes)
