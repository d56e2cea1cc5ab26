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

ENOUGH = 12
"""Independent dots below which the time of one counts: five cycles, two begun in each."""

RESULT_CYCLES = 3.3
"""Time in which a vector of sums becomes stored numbers."""


@dataclasses.dataclass(frozen=True)
class Tile:
    """Tile sizes of a dense kernel.

    Attributes:
        pixels: Neighbouring output pixels of a line.
        vectors: Vectors of output channels; lines * pixels * vectors accumulators.
        chunk: Consecutive tiles that are done for all output channels before the next ones.
        lines: Neighbouring lines.
    """

    pixels: int
    vectors: int
    chunk: int
    lines: int = 1

    @property
    def block(self) -> tuple[int, int]:
        """Pixels of all lines, and vectors: the accumulators."""
        return self.lines * self.pixels, self.vectors

    def __str__(self) -> str:
        lines = f"{self.lines}*" if self.lines > 1 else ""
        return f"{lines}{self.pixels}x{self.vectors}/{self.chunk}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What a dense kernel has to do, in the units of its loops.

    Attributes:
        lines: Output lines of all images.
        pixels: Output pixels of a line.
        vectors: Vectors of output channels.
        taps: Positions of the window.
        k_steps: Dot instructions for a tap, for blocks of 1, 2, ... vectors.
        line_bytes: Input bytes that one more output line reads.
        height: Output lines of an image; 1 where no tile may have several.
    """

    lines: int
    pixels: int
    vectors: int
    taps: int
    k_steps: tuple[int, ...]
    line_bytes: int
    height: int = 1


def tiles(work: Work, isa: Isa) -> list[Tile]:
    """Return every tile that fits the registers, the most promising first."""
    return sorted(_fitting(work, isa), key=lambda tile: cycles(tile, work, isa))


def _fitting(work: Work, isa: Isa) -> Iterator[Tile]:
    """Tiles of several lines are as wide as the image: else those of one line are as good."""
    most = isa.registers - 2
    areas = [(1, pixels) for pixels in range(1, min(work.pixels, most) + 1)]
    areas += [
        (lines, work.pixels) for lines in range(2, min(work.height, most // work.pixels) + 1)
    ]
    for vectors in range(1, min(WIDEST, work.vectors) + 1):
        for lines, pixels in areas:
            if registers(lines * pixels, vectors, isa) <= isa.registers:
                yield Tile(pixels, vectors, _chunk(lines, pixels, work, isa), lines)


def registers(pixels: int, vectors: int, isa: Isa) -> int:
    """Return how many vector registers a tile needs.

    The fewer operands stay in registers; where a load holds several groups, the pixels do.
    """
    covered = round_up(pixels, isa.rows)
    kept = covered + isa.spare if isa.groups > 1 else min(pixels, vectors) + 1
    return covered * vectors + kept


def _chunk(lines: int, pixels: int, work: Work, isa: Isa) -> int:
    """Return how many tiles to do for all channels at once: input for a quarter of L2."""
    columns = -(-work.pixels // pixels)
    total = work.lines // work.height * -(-work.height // lines) * columns
    return split(total, columns, -(-work.lines * work.line_bytes // (isa.l2_bytes // 4)))


def split(tiles: int, per_line: int, pieces: int) -> int:
    """Return the size of at least that many pieces; from a line on they are whole lines."""
    size = max(1, tiles // max(1, pieces))
    return size // per_line * per_line or size


def cycles(tile: Tile, work: Work, isa: Isa) -> float:
    """Return the estimated time of the whole kernel in cycles of one core.

    The last tile of a line overlaps the one before it; the last lines are a smaller tile.
    """
    bands, last = divmod(work.height, tile.lines)
    band = bands * _band_cycles(tile.lines * tile.pixels, tile.vectors, work, isa)
    if last:
        band += _band_cycles(last * tile.pixels, tile.vectors, work, isa)
    return work.lines // work.height * -(-work.pixels // tile.pixels) * band


def _band_cycles(pixels: int, vectors: int, work: Work, isa: Isa) -> float:
    """Return the time of all channels of so many pixels."""
    full, rest = divmod(work.vectors, vectors)
    steps = work.taps * work.k_steps[vectors - 1]
    blocks = full * _tile_cycles(pixels, vectors, steps, isa)
    return blocks + (_tile_cycles(pixels, rest, steps, isa) if rest else 0)


def _tile_cycles(pixels: int, vectors: int, steps: int, isa: Isa) -> float:
    """Two dots and two loads a cycle; weights come from L2.

    Of tiles that are bound by their dots the one with fewer loads is a little faster, those
    that ask for weights ahead included. Results that are not stored together take longer.
    """
    pixels = round_up(pixels, isa.rows)
    dots, weights = pixels * vectors, vectors * isa.rows
    loads = pixels * isa.operand_cost + weights
    ahead = 2 * weights if isa.prefetches else 0
    step = max(max(dots, ENOUGH) / 2, loads / 2, weights * isa.fetch_cycles)
    step += (loads + ahead) / 16
    apart = pixels * (vectors % isa.joined > 0) + dots % isa.joined * 4
    return steps * step + dots * RESULT_CYCLES + apart + 30
