"""The dots of a depthwise tile, and the cost model that chooses its size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

Pair = tuple[int, int]

QUAD = 4
"""Vectors of channels that are computed together."""

EPILOGUE = 6
"""Instructions that finish an accumulator, in units of a dot."""

UNPACK = (3, 6, 6, 8, 8)
"""Instructions that make a quad's operands: of a plain row, then of 1 to 4 interleaved."""


@dataclasses.dataclass(frozen=True)
class WindowTile:
    """Output rows and pixels that a depthwise kernel computes at once."""

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

    def groups(self, tile: WindowTile) -> list[list[int]]:
        """Return the input rows that the tile reads, from its first one, in groups."""
        taps = range(self.kernel[0])
        rows = sorted({self._row(row, kh) for row in range(tile.rows) for kh in taps})
        return [rows[start : start + self.taps] for start in range(0, len(rows), self.taps)]

    def columns(self, tile: WindowTile) -> list[int]:
        """Return the input columns that the tile reads, from its first one."""
        taps = range(self.kernel[1])
        return sorted({self.column(p, kw) for p in range(tile.pixels) for kw in taps})

    def column(self, pixel: int, kw: int) -> int:
        """Return the input column of a tap of the tile's pixel."""
        return pixel * self.strides[1] + kw * self.dilations[1]

    def dots(self, tile: WindowTile) -> list[Dot]:
        """Return the weight operands of the tile, in packed order."""
        dots = []
        for row in range(tile.rows):
            wanted = {self._row(row, kh): kh for kh in range(self.kernel[0])}
            for group, rows in enumerate(self.groups(tile)):
                taps = {byte: wanted[h] for byte, h in enumerate(rows) if h in wanted}
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
        for rows in range(1, min(4, size[0]) + 1)
        for pixels in range(1, min(registers // QUAD, size[1]) + 1)
        if QUAD * rows * pixels + QUAD <= registers
    ]
    return sorted(tiles, key=lambda tile: instructions(window, tile, size))


def instructions(window: Window, tile: WindowTile, size: Pair) -> float:
    """Return the estimated instructions for four vectors of channels of the whole output."""
    dots = QUAD * len(window.dots(tile)) * (tile.pixels + window.weight_cost)
    unpack = sum(UNPACK[len(rows) if window.taps > 1 else 0] for rows in window.groups(tile))
    unpack *= len(window.columns(tile))
    results = QUAD * EPILOGUE * tile.rows * tile.pixels
    count = -(-size[0] // tile.rows) * -(-size[1] // tile.pixels)
    return count * (dots + unpack + results + 10)
