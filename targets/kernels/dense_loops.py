"""The loops of the dense kernel: chunks of pixels, blocks of channels, tiles, taps, steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.blocks import Registers, gather, load_of, power_of_two, spread
from qcompile.targets.kernels.dense_store import Block, DenseStore, Position
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.layout import round_up
from qcompile.targets.tiles import CHUNKS, split

if TYPE_CHECKING:
    from qcompile.targets.kernels.dense_conv import DenseConv

ENOUGH = 10
"""Independent accumulators that hide a latency of five cycles at two dots a cycle."""


At = Callable[[int, int, int, int], int]
"""The number of an accumulator: (pixel, vector, register of it, chain)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseLoops:
    """One kernel while it is being emitted: what to compute, and its buffers.

    `r` and `scale` are the residual and its multiplier, or None; `addend` and `rows` what is
    added a channel and a pixel, or None.
    """

    conv: DenseConv
    x: Any
    w: Any
    base: Any
    bias: Any
    multiplier: Any
    r: Any
    scale: Any
    addend: Any
    rows: Any
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
        isa = self.conv.isa
        chains, lanes = self._chains(block), isa.lanes
        places = [
            (p, v, i)
            for p in range(0, self.pixels, isa.rows)
            for v in range(block.vectors)
            for i in range(isa.rows)
        ]
        acc = Registers(chains * len(places), lanes)
        first = self.conv.entry(position.n) * self.conv.vectors * lanes

        def at(p: int, v: int, i: int, chain: int = 0) -> int:
            row = chain * -(-self.pixels // isa.rows) + p // isa.rows
            return (row * block.vectors + v) * isa.rows + i

        for p, v, i in places:
            bias = self.bias[span(first + (block.first + v) * lanes, lanes)]
            acc[at(p, v, i)] = spread(bias, i, isa)
            for chain in range(1, chains):
                acc[at(p, v, i, chain)] = tir.broadcast(tir.int32(0), lanes)
        self._accumulate(block, position, acc, at, chains)

        def total(p: int, v: int, i: int) -> Expr:
            result = acc[at(p, v, i)]
            for chain in range(1, chains):
                result = result + acc[at(p, v, i, chain)]
            return result

        store = DenseStore(self.conv, self.multiplier, self.r, self.scale, self.addend, self.y)
        finished = {}
        for p in range(self.pixels):
            sums = [
                gather([total(p, v, i) for i in range(isa.rows)], p % isa.rows, isa)
                for v in range(block.vectors)
            ]
            if self.rows is not None:
                term = self.rows[self.conv.row(position.n, position.w + p)]
                sums = [each + tir.broadcast(term, lanes) for each in sums]
            finished[0, p] = sums
        store.tile(block, position, finished)

    def _chains(self, block: Block) -> int:
        """Return into how many independent sums the steps of a small tile are split."""
        isa = self.conv.isa
        steps = self.conv.k_steps(self.conv.width)
        dots = round_up(self.pixels, isa.rows) * block.vectors
        chains = 1
        while (
            chains * dots < ENOUGH
            and steps % (2 * chains) == 0
            and 2 * chains * dots + 2 <= isa.registers
        ):
            chains *= 2
        return chains

    def _accumulate(
        self, block: Block, position: Position, acc: Registers, at: At, chains: int
    ) -> None:
        """Do every tap; of each as many groups of channels at once as one load holds."""
        conv = self.conv
        steps = conv.k_steps(conv.width)
        unrolled = max(chains, min(conv.isa.groups, power_of_two(steps)))
        with tir.serial(conv.kernel[0]) as kh, tir.serial(conv.kernel[1]) as kw:
            h = position.h * conv.strides[0] + kh * conv.dilations[0] - conv.pads[0]
            w = position.w * conv.strides[1] + kw * conv.dilations[1] - conv.pads[1]
            tap = kh * conv.kernel[1] + kw

            def run(k: Expr, groups: int) -> None:
                self._steps(block, (position.n, h, w), tap * steps, k, groups, acc, at, chains)

            with tir.serial(steps // unrolled) as outer:
                run(outer * unrolled, unrolled)
            if steps % unrolled:
                run(steps // unrolled * unrolled, steps % unrolled)

    def _steps(
        self,
        block: Block,
        source: tuple[Expr, Expr, Expr],
        first: Expr,
        k: Expr,
        count: int,
        acc: Registers,
        at: At,
        chains: int,
    ) -> None:
        """Do `count` steps of one tap from step k on.

        Args:
            block: The output channels.
            source: Image, line and pixel that the tile's first pixel reads.
            first: The tap's first step, as the weights are numbered.
            k: The first step of the tap that is done.
            count: How many are.
            acc: The accumulators.
            at: Where each lies.
            chains: How many of them take turns.
        """
        conv, isa = self.conv, self.conv.isa
        x, _, _ = conv.views()
        entry = conv.entry(source[0]) * conv.entry_weights
        step_weights = block.vectors * isa.lanes * isa.k_group
        register = isa.lanes // isa.rows * isa.k_group
        for step in range(count):
            ahead, group, together = load_of(step, count, isa.groups)
            begin = conv.source(*source, block.base + (k + ahead) * isa.k_group)
            weights = block.first * conv.vector_weights + (first + (k + step)) * step_weights
            weights = entry + weights
            for p, v in self._order(block):
                pixels = [
                    begin + min(p + row, self.pixels - 1) * conv.strides[1] * x.c_pad
                    for row in range(isa.rows)
                ]
                a = isa.activations(self.x, pixels, group, together)
                for i in range(isa.rows):
                    load, number, loaded = load_of(
                        v * isa.rows + i, block.vectors * isa.rows, isa.fetched
                    )
                    b = isa.weights(self.w, weights + load * register, number, loaded)
                    place = at(p, v, i, step % chains)
                    acc[place] = isa.dot(acc[place], a, b)

    def _order(self, block: Block) -> list[tuple[int, int]]:
        """Return the dots so that the fewer operands stay in registers."""
        pixels, vectors = range(0, self.pixels, self.conv.isa.rows), range(block.vectors)
        if len(vectors) <= len(pixels):
            return [(p, v) for p in pixels for v in vectors]
        return [(p, v) for v in vectors for p in pixels]
