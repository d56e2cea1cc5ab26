"""The loops of the dense kernel: chunks of pixels, blocks of channels, tiles, taps, steps."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.blocks import Registers, gather, spread
from qcompile.targets.kernels.dense_steps import Area, DenseSteps
from qcompile.targets.kernels.dense_store import Block, DenseStore, Position
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.layout import round_up

if TYPE_CHECKING:
    from qcompile.targets.kernels.dense_conv import DenseConv

ENOUGH = 10
"""Independent accumulators that hide a latency of five cycles at two dots a cycle."""

BLOCKS = 8
"""Blocks of channels that some threads share about equally."""


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
        fill_halo(self.y, y.whole, conv.epilogue.dtype, conv.epilogue.zero_point)
        total, chunk = self._total, self._chunk
        region = parallel_region() if self._shared else contextlib.nullcontext()
        with region, tir.serial(-(-total // chunk)) as c:
            size = chunk if total % chunk == 0 else tir.min(chunk, total - c * chunk)
            self._blocks(c * chunk, size)

    @property
    def _total(self) -> int:
        """Tiles of all images."""
        return self.conv.views()[1].n * self._bands * self._columns

    @property
    def _chunk(self) -> int:
        """Tiles that are done for all output channels before the next ones."""
        assert self.conv.tile is not None
        return min(self.conv.tile.chunk, self._total)

    @property
    def _area(self) -> Area:
        """The pixels of a tile; an image that is smaller is one tile."""
        tile, (_, y, _) = self.conv.tile, self.conv.views()
        assert tile is not None
        return Area(min(tile.lines, y.h), min(tile.pixels, y.w))

    @property
    def _columns(self) -> int:
        """Tiles side by side."""
        return -(-self.conv.views()[1].w // self._area.pixels)

    @property
    def _bands(self) -> int:
        """Tiles of an image one below the other."""
        return -(-self.conv.views()[1].h // self._area.lines)

    @property
    def _shared(self) -> bool:
        """Whether threads share the work: at least blocks or tiles are several."""
        return self.conv.parallel and (self._blocks_shared or self._chunk > 1)

    @property
    def _blocks_shared(self) -> bool:
        """Whether threads share the blocks, not the tiles.

        They do where there are more weights than input to read, and enough blocks.
        """
        conv, enough = self.conv, max(2, min(self._chunk, BLOCKS))
        return conv.parallel and self._looped() >= enough and conv.entry_weights > conv.x_size

    def _looped(self) -> int:
        """Return how many blocks are a loop.

        Those of full width are; the last is by itself where it is narrower, or where the
        stored channels end inside its last vector.
        """
        conv, blocks = self.conv, self.conv.blocks()
        layouts = [conv.y, *([conv.residual] if conv.residual else [])]
        channels = conv.vectors * conv.isa.lanes
        ends_inside = any(layout.c_pad < channels for layout in layouts)
        return len(blocks) - (ends_inside or blocks[-1].vectors < conv.width)

    def _blocks(self, start: Expr, size: Expr) -> None:
        """Do all channels of the tiles from `start` on."""
        conv, looped = self.conv, self._looped()
        if looped:
            with (tir.parallel if self._blocks_shared else tir.serial)(looped) as j:
                base = self.base[j] if conv.group > 1 else 0
                block = Block(first=j * conv.width, vectors=conv.width, base=base)
                self._tiles(
                    block, start, size, shared=self._shared and not self._blocks_shared
                )
        for block in conv.blocks()[looped:]:
            self._tiles(block, start, size, shared=self._shared)

    def _tiles(self, block: Block, start: Expr, size: Expr, *, shared: bool) -> None:
        """Do a chunk's tiles; an image's last lines are fewer where they do not divide."""
        _, y, _ = self.conv.views()
        lines, columns, bands = self._area.lines, self._columns, self._bands
        rest = y.h % lines
        with (tir.parallel if shared else tir.serial)(size) as i:
            t = start + i
            band = t // columns % bands
            position = Position(
                n=t // (bands * columns),
                h=band * lines,
                w=tir.min(t % columns * self._area.pixels, y.w - self._area.pixels),
            )
            if not rest:
                self._tile(block, position, self._area, i)
            else:
                with tir.If(band < bands - 1):
                    with tir.Then():
                        self._tile(block, position, self._area, i)
                    with tir.Else():
                        self._tile(block, position, Area(rest, self._area.pixels), i)

    def _tile(self, block: Block, position: Position, area: Area, i: Expr) -> None:
        """Compute and store one tile, its accumulators in registers."""
        isa = self.conv.isa
        chains, lanes = self._chains(block, area), isa.lanes
        places = [
            (p, v, i)
            for p in range(0, area.size, isa.rows)
            for v in range(block.vectors)
            for i in range(isa.rows)
        ]
        acc = Registers(chains * len(places), lanes)
        first = self.conv.entry(position.n) * self.conv.vectors * lanes

        def at(p: int, v: int, i: int, chain: int = 0) -> int:
            row = chain * -(-area.size // isa.rows) + p // isa.rows
            return (row * block.vectors + v) * isa.rows + i

        for p, v, i_ in places:
            bias = self.bias[span(first + (block.first + v) * lanes, lanes)]
            acc[at(p, v, i_)] = spread(bias, i_, isa)
            for chain in range(1, chains):
                acc[at(p, v, i_, chain)] = tir.broadcast(tir.int32(0), lanes)
        self._steps(area, chains).accumulate(block, position, acc, at, i)

        def total(p: int, v: int, i: int) -> Expr:
            result = acc[at(p, v, i)]
            for chain in range(1, chains):
                result = result + acc[at(p, v, i, chain)]
            return result

        store = DenseStore(self.conv, self.multiplier, self.r, self.scale, self.addend, self.y)
        finished = {}
        for p in range(area.size):
            sums = [
                gather([total(p, v, i) for i in range(isa.rows)], p % isa.rows, isa)
                for v in range(block.vectors)
            ]
            if self.rows is not None:
                term = self.rows[self.conv.row(position.n, position.w + p)]
                sums = [each + tir.broadcast(term, lanes) for each in sums]
            finished[area.pixel(p)] = sums
        store.tile(block, position, finished)

    def _chains(self, block: Block, area: Area) -> int:
        """Return into how many independent sums the steps of a small tile are split."""
        isa = self.conv.isa
        _, length = self._steps(area, 1).runs()
        dots = round_up(area.size, isa.rows) * block.vectors
        chains = 1
        while (
            chains * dots < ENOUGH
            and length % (2 * chains) == 0
            and 2 * chains * dots + 2 <= isa.registers
        ):
            chains *= 2
        return chains

    def _steps(self, area: Area, chains: int) -> DenseSteps:
        return DenseSteps(
            conv=self.conv,
            x=self.x,
            w=self.w,
            area=area,
            chains=chains,
            tiles=self._chunk,
            again=self._chunk < self._total,
        )


def parallel_region() -> Any:
    """Open a region that every thread runs, sharing the parallel loops in it."""
    return tir.attr(tir.int32(0), "pragma_parallel_launch_point", tir.int32(1))
