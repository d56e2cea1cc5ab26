"""The cost model: which tile sizes a dense kernel should have, from counted instructions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from qcompile.targets.isa import Isa
from qcompile.targets.layout import round_up

WIDEST = 8
"""Most vectors of output channels in a tile."""

CHUNKS = 16
"""Pieces that parallel work is cut into, so that threads of unequal speed end together."""


@dataclasses.dataclass(frozen=True)
class Tile:
    """Tile sizes of a dense kernel.

    Attributes:
        pixels: Neighbouring output pixels.
        vectors: Vectors of output channels; pixels * vectors accumulators.
        chunk: Consecutive tiles that are done for all output channels before the next ones;
            parallel kernels cut it further (see `CHUNKS`).
    """

    pixels: int
    vectors: int
    chunk: int

    @property
    def block(self) -> tuple[int, int]:
        """Pixels and vectors: the accumulators."""
        return self.pixels, self.vectors

    def __str__(self) -> str:
        return f"{self.pixels}x{self.vectors}/{self.chunk}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What a dense kernel has to do, in the units of its loops.

    Attributes:
        lines: Output lines.
        pixels: Output pixels of a line.
        vectors: Vectors of output channels.
        taps: Positions of the window.
        k_steps: Dot instructions for a tap, for blocks of 1, 2, ... vectors.
        line_bytes: Input bytes that one more output line reads.
    """

    lines: int
    pixels: int
    vectors: int
    taps: int
    k_steps: tuple[int, ...]
    line_bytes: int


def tiles(work: Work, isa: Isa) -> list[Tile]:
    """Return every tile that fits the registers, the most promising first."""
    return sorted(_fitting(work, isa), key=lambda tile: cycles(tile, work, isa))


def _fitting(work: Work, isa: Isa) -> Iterator[Tile]:
    for vectors in range(1, min(WIDEST, work.vectors) + 1):
        for pixels in range(1, min(work.pixels, isa.registers - 2) + 1):
            if registers(pixels, vectors, isa) <= isa.registers:
                yield Tile(pixels, vectors, _chunk(pixels, work, isa))


def registers(pixels: int, vectors: int, isa: Isa) -> int:
    """Return how many vector registers a tile needs.

    The fewer operands stay in registers; where a load holds several groups, the pixels do.
    """
    covered = round_up(pixels, isa.rows)
    kept = covered + isa.spare if isa.groups > 1 else min(pixels, vectors) + 1
    return covered * vectors + kept


def _chunk(pixels: int, work: Work, isa: Isa) -> int:
    """Return how many tiles to do for all channels at once: input for a quarter of L2."""
    per_line = -(-work.pixels // pixels)
    total = work.lines * per_line
    return split(total, per_line, -(-work.lines * work.line_bytes // (isa.l2_bytes // 4)))


def split(tiles: int, per_line: int, pieces: int) -> int:
    """Return the size of at least that many pieces; from a line on they are whole lines."""
    size = max(1, tiles // max(1, pieces))
    return size // per_line * per_line or size


def cycles(tile: Tile, work: Work, isa: Isa) -> float:
    """Return the estimated time of the whole kernel in cycles of one core."""
    count = work.lines * -(-work.pixels // tile.pixels)
    full, rest = divmod(work.vectors, tile.vectors)
    steps = work.taps * work.k_steps[tile.vectors - 1]
    blocks = full * _tile_cycles(tile.pixels, tile.vectors, steps, work.taps, isa)
    if rest:
        blocks += _tile_cycles(tile.pixels, rest, steps, work.taps, isa)
    return count * blocks


def _tile_cycles(pixels: int, vectors: int, steps: int, taps: int, isa: Isa) -> float:
    """Two dots and two loads a cycle; weights come from L2.

    Of tiles that are bound by their dots the one with fewer loads is a little faster. Results
    that are not stored together take longer.
    """
    pixels = round_up(pixels, isa.rows)
    dots, loads = pixels * vectors, pixels * isa.operand_cost + vectors * isa.rows
    step = max(dots / 2, loads / 2, vectors * isa.rows * isa.fetch_cycles) + loads / 16
    results = dots * 5 + pixels * (vectors % isa.joined) * 3
    return steps * step + taps * 4 + results + 30
