"""Accumulators of dots that cover several pixels, and operands that are loaded together.

Where a dot has `rows` pixels, a pixel's vector of output channels is spread over `rows`
registers: register i holds channels i * lanes / rows and on, of every pixel in turn. With one
row all of this is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels.epilogue import span


class Registers:
    """Vectors that the code generator keeps in registers, all indices being constants.

    Each is an allocation of its own: TVM puts small ones of scope "global" on the stack, from
    where LLVM takes them, and asks its runtime for memory for any other.
    """

    def __init__(self, count: int, lanes: int, dtype: str = "int32") -> None:
        self._every = [span(0, lanes)]
        self._buffers = [
            tir.alloc_buffer((lanes,), dtype, scope="global") for _ in range(count)
        ]

    def __getitem__(self, index: int) -> Expr:
        """Return a vector."""
        return self._buffers[index][self._every[0]]

    def __setitem__(self, index: int, vector: Expr) -> None:
        """Emit the change of a vector."""
        tir.buffer_store(self._buffers[index], vector, self._every)


def spread(vector: Expr, i: int, isa: Isa) -> Expr:
    """Return register i of a vector of channels, the same for every pixel."""
    if isa.rows == 1:
        return vector
    share = isa.lanes // isa.rows
    return tir.Shuffle(
        [vector], [i * share + c for _ in range(isa.rows) for c in range(share)]
    )


def gather(registers: Sequence[Expr], pixel: int, isa: Isa) -> Expr:
    """Return the vector of channels of one of the pixels."""
    if isa.rows == 1:
        return registers[0]
    share = isa.lanes // isa.rows
    places = [i * isa.lanes + pixel * share + c for i in range(isa.rows) for c in range(share)]
    return tir.Shuffle(list(registers), places)


def part(vector: Expr, i: int, lanes: int, count: int = 1) -> Expr:
    """Return the i-th vector of a longer one, or so many from there on."""
    return tir.Shuffle([vector], list(range(i * lanes, (i + count) * lanes)))


def widened(buffer: Any, index: Expr, lanes: int, vectors: int) -> list[Expr]:
    """Return a row of 8-bit numbers as int16[lanes] vectors; two of them are widened together.

    Each byte is doubled and the pair shifted down. Of a cast of both LLVM makes two casts,
    one of half a register, which take more instructions.
    """
    found = []
    for first in range(0, vectors, 2):
        size = min(2, vectors - first) * lanes
        row = buffer[span(index + first * lanes, size)]
        doubled = tir.Shuffle([row, row], [i // 2 for i in range(2 * size)])
        shift = tir.broadcast(tir.int16(8), size)
        wide = tir.reinterpret(f"int16x{size}", doubled) >> shift
        found += [part(wide, i, lanes) for i in range(2)] if size > lanes else [wide]
    return found


def load_of(step: int, count: int, groups: int) -> tuple[int, int, int]:
    """Return the load that holds a step: its first step, the step's place in it, its size.

    The steps up to `count` are loaded in powers of two, the widest first.
    """
    start = 0
    while True:
        size = min(groups, power_of_two(count - start))
        if step < start + size:
            return start, step - start, size
        start += size


def power_of_two(number: int) -> int:
    """Return the greatest power of two that is not above the number."""
    return 1 << (number.bit_length() - 1)
