"""The dots of a depthwise tile, and the cost model that chooses its size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

Pair = tuple[int, int]

QUAD = 4
"""Vectors that are computed together."""

EPILOGUE = 3.75
"""Instructions that finish an accumulator, in units of a dot."""

SPILLS = 1.1
"""By how much a block that fills the registers takes longer than its instructions say."""

UNPACK = (3, 4, 6, 8, 8)
"""Instructions that make a quad's operands: of a plain row, then of 1 to 4 interleaved."""

ROWS = 4
"""Most output rows of a tile."""


@dataclasses.dataclass(frozen=True)
class WindowTile:
    """What a depthwise kernel computes at once.

    Attributes:
        rows: Output rows.
        pixels: Neighbouring pixels of a row that are summed at a time. With as many as a
            column of the input reaches (`Window.reached`), the tile walks along the line and
            takes each column once; else the line is cut into blocks of so many.
    """

    rows: int
    pixels: int

    @property
    def block(self) -> Pair:
        """Rows and pixels: the accumulators."""
        return self.rows, self.pixels

    def __str__(self) -> str:
        return f"{self.rows}x{self.pixels}"


@dataclasses.dataclass(frozen=True)
class Dot:
    """One weight operand of a tile: an output row with a group of input rows, at one kw.

    Attributes:
        row: Output row of the tile.
        kw: Column of the window.
        group: Group of input rows.
        bytes: Byte of a lane -> kh; other bytes meet a weight of zero.
    """

    row: int
    kw: int
    group: int
    bytes: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class Window:
    """Kernel size, strides and dilations, each down and right.

    Attributes:
        kernel: Height and width.
        strides: Of the window.
        dilations: Distance of neighbouring taps.
        taps: Input rows that one dot takes: 4, whose bytes are interleaved, or 1.
        weight_cost: Instructions that load a weight operand.
    """

    kernel: Pair
    strides: Pair
    dilations: Pair
    taps: int = 4
    weight_cost: float = 0.0

    @property
    def last(self) -> int:
        """Return the last input column that a pixel reads, from its first one."""
        return (self.kernel[1] - 1) * self.dilations[1]

    def reached(self, width: int) -> int:
        """Return over how many pixels of a line of some width a column's taps are spread."""
        return min(width, -(-(self.last + 1) // self.strides[1]))

    def groups(self, rows: int) -> list[list[int]]:
        """Return the input rows that so many output rows read, from the first, in groups."""
        taps = range(self.kernel[0])
        read = sorted({self._row(row, kh) for row in range(rows) for kh in taps})
        return [read[start : start + self.taps] for start in range(0, len(read), self.taps)]

    def columns(self, pixels: int) -> list[int]:
        """Return the input columns that so many pixels read, from the first one."""
        taps = range(self.kernel[1])
        return sorted({self.column(p, kw) for p in range(pixels) for kw in taps})

    def column(self, pixel: int, kw: int) -> int:
        """Return the input column of a tap of a pixel, from the first one's."""
        return pixel * self.strides[1] + kw * self.dilations[1]

    def readers(self, column: int, pixels: int) -> dict[int, int]:
        """Return kw -> pixel for those of so many pixels that read a column."""
        steps = {
            kw: divmod(column - self.column(0, kw), self.strides[1])
            for kw in range(self.kernel[1])
        }
        return {
            kw: pixel
            for kw, (pixel, rest) in steps.items()
            if not rest and 0 <= pixel < pixels
        }

    def dots(self, rows: int) -> list[Dot]:
        """Return the weight operands of so many output rows, in packed order."""
        dots = []
        for row in range(rows):
            wanted = {self._row(row, kh): kh for kh in range(self.kernel[0])}
            for group, read in enumerate(self.groups(rows)):
                taps = {byte: wanted[h] for byte, h in enumerate(read) if h in wanted}
                if taps:
                    dots += [Dot(row, kw, group, taps) for kw in range(self.kernel[1])]
        return dots

    def _row(self, row: int, kh: int) -> int:
        return row * self.strides[0] + kh * self.dilations[0]


def window_tiles(window: Window, size: Pair, registers: int) -> list[WindowTile]:
    """Return every tile that fits, the fewest instructions for such an output first.

    Args:
        window: The taps.
        size: Height and width of the output.
        registers: Vector registers for accumulators and a quad of operands.
    """
    tiles = [
        WindowTile(rows, pixels)
        for rows in range(1, min(ROWS, size[0]) + 1)
        for pixels in range(1, window.reached(size[1]) + 1)
        if QUAD * rows * pixels + QUAD <= registers
    ]
    return sorted(tiles, key=lambda tile: instructions(window, tile, size, registers))


def instructions(window: Window, tile: WindowTile, size: Pair, registers: int) -> float:
    """Return the estimated instructions for four vectors of channels of the whole output."""
    height, width = size
    walks = tile.pixels >= window.reached(width)
    pixels = width if walks else tile.pixels
    fetched = window.weight_cost * (width if walks else 1)
    dots = QUAD * len(window.dots(tile.rows)) * (pixels + fetched)
    groups = window.groups(tile.rows)
    unpack = sum(UNPACK[len(rows) if window.taps > 1 else 0] for rows in groups)
    unpack *= len(window.columns(pixels))
    results = QUAD * EPILOGUE * tile.rows * pixels
    count = -(-height // tile.rows) * -(-width // pixels)
    total = count * (dots + unpack + results + 10)
    fills = QUAD * (tile.rows * tile.pixels + 2) > registers
    return total * SPILLS if fills and not walks else total
