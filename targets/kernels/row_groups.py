"""Loops over rows of floats that take several passes: a few rows together, pass by pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr

TOGETHER = 8
"""Most rows of a group."""

NUMBERS = 4096
"""Most numbers of a group of several rows: it stays in the first cache."""

CHUNKS = 16
"""Pieces that parallel work is cut into; each may have memory for itself."""


@dataclasses.dataclass(frozen=True)
class RowGroups:
    """Rows, cut into chunks for the threads and these into groups.

    A row's passes wait for each other's results; those of several rows do not.

    Attributes:
        rows: How many.
        channels: Numbers of a row.
        parallel: Whether threads share the chunks.
    """

    rows: int
    channels: int
    parallel: bool

    @property
    def together(self) -> int:
        """Rows of a group."""
        return max(1, min(TOGETHER, NUMBERS // self.channels, self._share))

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return min(CHUNKS, self.rows) if self.parallel else 1

    @property
    def _share(self) -> int:
        return -(-self.rows // self.chunks)

    def each(self, body: Callable[[Expr, Expr, Expr], None]) -> None:
        """Emit loops around `body(chunk, first row of a group, how many)`."""
        with (
            (tir.parallel if self.parallel else tir.serial)(self.chunks) as chunk,
            tir.serial(-(-self._share // self.together)) as group,
        ):
            first = tir.bind(chunk * self._share + group * self.together)
            end = tir.min((chunk + 1) * self._share, self.rows)
            body(chunk, first, tir.min(self.together, end - first))

    def fetch_next(self, x: Any, row: Expr, first: Expr) -> None:
        """Emit a prefetch of 16 numbers, of the row with this one's place in the next group.

        The first pass over a group does little but wait for its numbers.
        """
        following = tir.min(row + self.together, self.rows - 1)
        address = tir.address_of(x[following * self.channels + first])
        read, every_cache, data = (tir.int32(number) for number in (0, 3, 1))
        tir.evaluate(
            tir.call_llvm_intrin("void", "llvm.prefetch", address, read, every_cache, data)
        )
