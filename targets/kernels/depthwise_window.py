"""The dots of a depthwise tile, and the cost model that chooses its size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

Pair = tuple[int, int]

BYTES = 4
"""Input rows that one dot instruction takes."""

EPILOGUE = 6
"""Instructions that finish an accumulator, in units of a dot."""


@dataclasses.dataclass(frozen=True)
class WindowTile:
    """Output rows and pixels that a depthwise kernel computes at once."""

    rows: int
    pixels: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.pixels}"


@dataclasses.dataclass(frozen=True)
class Dot:
    """One weight operand of a tile: an output row with a group of input rows, at one kw.

    Attributes:
        row: Output row of the tile.
        kw: Column of the window.
        group: Group of up to four input rows.
        bytes: Byte of a dword -> kh; other bytes meet a weight of zero.
    """

    row: int
    kw: int
    group: int
    bytes: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class Window:
    """Kernel size, strides and dilations, each down and right."""

    kernel: Pair
    strides: Pair
    dilations: Pair

    def groups(self, tile: WindowTile) -> list[list[int]]:
        """Return the input rows that the tile reads, from its first one, in groups of four."""
        taps = range(self.kernel[0])
        rows = sorted({self._row(row, kh) for row in range(tile.rows) for kh in taps})
        return [rows[start : start + BYTES] for start in range(0, len(rows), BYTES)]

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


def best_window_tile(window: Window, size: Pair, registers: int) -> WindowTile:
    """Return the tile with the fewest instructions for an output of that height and width."""
    tiles = [
        WindowTile(rows, pixels)
        for rows in range(1, min(4, size[0]) + 1)
        for pixels in range(1, min(registers // BYTES, size[1]) + 1)
        if BYTES * rows * pixels + BYTES + 2 <= registers
    ]
    return min(tiles, key=lambda tile: instructions(window, tile, size))


def instructions(window: Window, tile: WindowTile, size: Pair) -> float:
    """Return the estimated instructions for four vectors of channels of the whole output."""
    dots = BYTES * len(window.dots(tile)) * tile.pixels
    unpack = sum(8 if len(rows) > 2 else 6 for rows in window.groups(tile))
    unpack *= len(window.columns(tile))
    results = BYTES * EPILOGUE * tile.rows * tile.pixels
    count = -(-size[0] // tile.rows) * -(-size[1] // tile.pixels)
    return count * (dots + unpack + results + 10)
