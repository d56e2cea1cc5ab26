"""Sums and maxima of a row in one order for every instruction set: partial ones, a tree."""

from __future__ import annotations

from collections.abc import Callable

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.blocks import part
from qcompile.targets.kernels.epilogue import span, splat
from qcompile.targets.kernels.kept import kept

WIDTH = 16
"""Partial results of a chain, whatever the width of the registers."""

CHAINS = 4
"""Chains where a step is shorter than an addition takes: one would wait for the other."""

Combine = Callable[[Expr, Expr], Expr]


def combined(
    size: int,
    values: Callable[[Expr, int], Expr],
    combine: Combine,
    neutral: float,
    *,
    take: Combine | None = None,
    chains: int = 1,
) -> Expr:
    """Emit the combination of `size` float32 numbers and return it, a bound scalar.

    Number i is part of the partial result i % 16 of chain i // 16 % chains, each in rising
    order. Of the size % 16 last ones, if there are 16 at all, each instead belongs to the
    place that it has in the last 16 numbers, in the first chain. In the end the second half
    of the chains is combined with the first, again and again, then the results i and i + 8,
    then i and i + 4, ...

    Args:
        size: How many numbers.
        values: (first, lanes) -> that many numbers from there on; 16 or 1 are asked for, and
            some twice.
        combine: Adds or compares two partial results.
        neutral: A number that changes nothing.
        take: (partial result, number) -> the new partial result, if not `combine`.
        chains: A power of two.
    """
    take = take or combine
    full, rest = divmod(size, WIDTH)
    while chains > max(full, 1):
        chains //= 2
    start, every = splat("float32", neutral, WIDTH), [span(0, WIDTH)]
    partial = [tir.alloc_buffer((WIDTH,), "float32", scope="global") for _ in range(chains)]
    for each in partial:
        tir.buffer_store(each, start, every)

    def include(chain: int, number: Expr) -> None:
        tir.buffer_store(partial[chain], take(partial[chain][every[0]], number), every)

    rounds, left = divmod(full, chains)
    if rounds:
        with tir.serial(rounds) as i:
            for chain in range(chains):
                include(chain, values((i * chains + chain) * WIDTH, WIDTH))
    for chain in range(left):
        include(chain, values((rounds * chains + chain) * WIDTH, WIDTH))
    if full and rest:
        last = kept(values(size - WIDTH, WIDTH))
        new = tir.ramp(0, 1, WIDTH) >= splat("int32", WIDTH - rest, WIDTH)
        include(0, kept(tir.Select(new, last, start)))
    elif rest:
        with tir.serial(rest) as i:
            tir.buffer_store(partial[0], take(partial[0][i], values(i, 1)), [i])
    return _joined([kept(each[every[0]]) for each in partial], combine)


def _joined(vectors: list[Expr], combine: Combine) -> Expr:
    """Return the combination of chains, as a scalar."""
    while len(vectors) > 1:
        half = len(vectors) // 2
        pairs = zip(vectors[:half], vectors[half:], strict=True)
        vectors = [kept(combine(*pair)) for pair in pairs]
    (vector,), width = vectors, WIDTH
    while width > 1:
        width //= 2
        vector = kept(combine(part(vector, 0, width), part(vector, 1, width)))
    return vector


def add(a: Expr, b: Expr) -> Expr:
    """Return a + b."""
    return a + b


def greater(a: Expr, b: Expr) -> Expr:
    """Return the greater; a where b is NaN."""
    return tir.Select(b > a, b, a)


def add_square(total: Expr, number: Expr) -> Expr:
    """Return total + number**2, rounded once."""
    number = kept(number)
    return tir.fma(number, number, total)
