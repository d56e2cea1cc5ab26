"""The loops of a float product: chunks of pixels, groups, blocks of channels, tiles, taps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels import edges
from qcompile.targets.kernels.blocks import Registers
from qcompile.targets.kernels.epilogue import span, splat
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.kept import kept
from qcompile.targets.tiles import CHUNKS, split

if TYPE_CHECKING:
    from qcompile.targets.kernels.float_conv import FloatConv

UNROLLED = 4
"""Input channels whose products are written out one after another."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Neighbouring vectors of a group's output channels.

    Attributes:
        first: The first vector.
        channels: The first channel of each, counted in the group. The last of a group may
            overlap the one before it, where nothing may be written behind the group.
    """

    first: Expr
    channels: tuple[Expr, ...]


@dataclasses.dataclass(frozen=True)
class FloatLoops:
    """One kernel while it is being emitted: what to compute, and its buffers."""

    conv: FloatConv
    x: Any
    w: Any
    bias: Any
    r: Any
    y: Any

    def emit(self) -> None:
        """Emit chunks of pixels, groups, blocks of channels, tiles of pixels."""
        conv, y = self.conv, self.conv.views()[1]
        assert conv.tile is not None
        fill_halo(self.y, y, "float32", 0)
        per_line = -(-y.w // self.pixels)
        total = y.n * y.h * per_line
        chunk = min(conv.tile.chunk, total)
        if conv.parallel and not conv.heavy:
            chunk = min(chunk, split(total, per_line, CHUNKS))
        chunks = -(-total // chunk)
        shared = conv.parallel and chunks > 1
        with (tir.parallel if shared else tir.serial)(chunks) as c:
            size = chunk if total % chunk == 0 else tir.min(chunk, total - c * chunk)
            with tir.serial(conv.group) as g:
                self._blocks(g, c * chunk, size, shared=conv.parallel and not shared)

    @property
    def pixels(self) -> int:
        """Pixels of a tile; a line that is shorter is one tile."""
        assert self.conv.tile is not None
        return min(self.conv.tile.pixels, self.conv.views()[1].w)

    def _blocks(self, g: Expr, start: Expr, size: Expr, *, shared: bool) -> None:
        """Do all channels of a group; the last block by itself if it is not as the others."""
        blocks, lanes = self.conv.blocks(), self.conv.isa.lanes
        width = len(blocks[0].channels)
        alone = len(blocks[-1].channels) < width or self.conv.overlaps
        looped = len(blocks) - alone
        if looped:
            with (tir.parallel if shared else tir.serial)(looped) as j:
                channels = tuple((j * width + v) * lanes for v in range(width))
                self._tiles(g, Block(j * width, channels), start, size)
        if alone:
            self._tiles(g, blocks[-1], start, size)

    def _tiles(self, g: Expr, block: Block, start: Expr, size: Expr) -> None:
        y = self.conv.views()[1]
        per_line = -(-y.w // self.pixels)
        with tir.serial(size) as i:
            t = start + i
            w = tir.min(t % per_line * self.pixels, y.w - self.pixels)
            self._tile(g, block, (t // (y.h * per_line), t // per_line % y.h, w))

    def _tile(self, g: Expr, block: Block, place: tuple[Expr, Expr, Expr]) -> None:
        """Compute and store one tile, its accumulators in registers."""
        conv, lanes, vectors = self.conv, self.conv.isa.lanes, len(block.channels)
        acc = Registers(self.pixels * vectors, lanes, "float32")
        biases = [
            self.bias[span((g * conv.vectors + block.first + v) * lanes, lanes)]
            for v in range(vectors if conv.bias else 0)
        ]
        for each in range(self.pixels * vectors):
            begin = biases and not conv.late
            acc[each] = biases[each % vectors] if begin else splat("float32", 0, lanes)
        (n, h, w), depth = place, conv.depth
        with tir.serial(conv.kernel[0]) as kh, tir.serial(conv.kernel[1]) as kw:
            line = h * conv.strides[0] + kh * conv.dilations[0] - conv.pads[0]
            pixel = w * conv.strides[1] + kw * conv.dilations[1] - conv.pads[1]
            tap = kh * conv.kernel[1] + kw

            def run(k: Expr, count: int) -> None:
                begin = conv.source(n, line, pixel, g * depth + k)
                for step in range(count):
                    self._step(g, block, n, begin + step, tap * depth + k + step, acc)

            count = min(UNROLLED, depth)
            with tir.serial(depth // count) as outer:
                run(outer * count, count)
            if depth % count:
                run(depth // count * count, depth % count)
        for p in range(self.pixels):
            sums = [acc[p * vectors + v] for v in range(vectors)]
            if conv.late and biases:
                sums = [kept(a + b) for a, b in zip(sums, biases, strict=True)]
            self._store(g, block, (n, h, w + p), sums)

    def _step(
        self, g: Expr, block: Block, n: Expr, begin: Expr, step: Expr, acc: Registers
    ) -> None:
        """Add the products of one input channel at one tap."""
        conv, lanes, vectors = self.conv, self.conv.isa.lanes, len(block.channels)
        stride = conv.strides[1] * conv.views()[0].c_pad
        weights = [
            edges.load(
                self.w, conv.weight(n, g, block, v, step), lanes, conv.weight_room, "float32"
            )
            for v in range(vectors)
        ]
        for p in range(self.pixels):
            number = tir.broadcast(self.x[begin + p * stride], lanes)
            for v, weight in enumerate(weights):
                place = p * vectors + v
                acc[place] = tir.fma(number, weight, acc[place])

    def _store(
        self, g: Expr, block: Block, place: tuple[Expr, Expr, Expr], sums: list[Expr]
    ) -> None:
        conv, lanes, room = self.conv, self.conv.isa.lanes, self.conv.room
        _, y, r = conv.views()
        for total, start in zip(sums, block.channels, strict=True):
            channel = g * conv.outputs + start
            residual = None
            if r is not None:
                residual = edges.load(self.r, r.at(*place, channel), lanes, room, "float32")
            result = conv.end.finish(total, residual, lanes)
            edges.save(self.y, y.at(*place, channel), result, lanes, room, "float32")
