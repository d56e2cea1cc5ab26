"""Four rows of bytes become dot operands, and four result vectors bytes again, by shuffles.

Unpacking two registers interleaves them inside every 16-byte part, so four rows of 4 * lanes
channels become four operands whose lanes hold the channels in another order. Constants are
packed in that order, and narrowing the four results by packs restores the natural one: each
step is one instruction on x86. With four lanes both orders are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.depthwise_window import QUAD


def channel_order(lanes: int, vectors: int = QUAD) -> list[int]:
    """Return the channel in each lane of a quad's vectors.

    With fewer vectors of channels the quad holds them of several pixels, one after the other.
    """
    parts = range(lanes // 4)
    order = [16 * q + 4 * t + i for t in range(QUAD) for q in parts for i in range(4)]
    return [place % (vectors * lanes) for place in order]


def interleave(rows: Sequence[Expr], lanes: int) -> list[Expr]:
    """Return int8[4 * lanes] operands of 1 to 4 rows of 4 * lanes 8-bit numbers.

    Every group of four bytes holds one channel of the rows, top row first; the bytes of rows
    that are not there hold anything. Of three rows the first stands for the fourth: of the
    third twice LLVM makes other shuffles, which take longer.
    """
    size = 4 * lanes
    rows = [tir.reinterpret(f"uint8x{size}", row) for row in rows]
    spare = rows[0] if len(rows) == 3 else rows[-1]
    first, second, third, fourth = [*rows, *[spare] * 3][:4]
    operands = []
    for half in range(2):
        top = _unpack(first, second, half, "uint8", size)
        bottom = _unpack(third, fourth, half, "uint8", size)
        low, high = (tir.reinterpret(f"int16x{size // 2}", pair) for pair in (top, bottom))
        operands += [_unpack(low, high, quarter, "int16", size // 2) for quarter in range(2)]
    return [tir.reinterpret(f"int8x{size}", operand) for operand in operands]


def _unpack(a: Expr, b: Expr, half: int, dtype: str, size: int) -> Expr:
    """Return the lower or upper halves of all 16-byte parts of a and b, element by element."""
    part = 16 if dtype == "uint8" else 8
    start = half * part // 2
    places = [q + start + i for q in range(0, size, part) for i in range(part // 2)]
    return tir.Shuffle([a, b], [side for place in places for side in (place, size + place)])


def restore(vectors: Sequence[Expr], lanes: int) -> Expr:
    """Return the four vectors of a quad as one, its channels in natural order."""
    parts = range(lanes // 4)
    places = [t * lanes + 4 * q + i for q in parts for t in range(QUAD) for i in range(4)]
    return tir.Shuffle(list(vectors), places)


def scatter(vector: Expr, lanes: int) -> list[Expr]:
    """Return a vector of 4 * lanes channels in natural order as the four of a quad."""
    order = channel_order(lanes)
    return [
        tir.Shuffle([vector], order[start : start + lanes])
        for start in range(0, QUAD * lanes, lanes)
    ]
