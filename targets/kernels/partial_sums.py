"""Sums and maxima of a row in one order for every instruction set: 16 partial ones, a tree."""

from __future__ import annotations

from collections.abc import Callable

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.blocks import part
from qcompile.targets.kernels.epilogue import span, splat
from qcompile.targets.kernels.kept import kept

WIDTH = 16
"""Partial results, whatever the width of the registers."""

Combine = Callable[[Expr, Expr], Expr]


def combined(
    size: int,
    values: Callable[[Expr, int], Expr],
    combine: Combine,
    neutral: float,
    *,
    take: Combine | None = None,
) -> Expr:
    """Emit the combination of `size` float32 numbers and return it, a bound scalar.

    Number i is part of the partial result i % 16, each in rising order. Of the size % 16
    last ones, if there are 16 at all, each instead belongs to the place that it has in the
    last 16 numbers. In the end the results i and i + 8 are combined, then i and i + 4, ...

    Args:
        size: How many numbers.
        values: (first, lanes) -> that many numbers from there on; 16 or 1 are asked for, and
            some twice.
        combine: Adds or compares two partial results.
        neutral: A number that changes nothing.
        take: (partial result, number) -> the new partial result, if not `combine`.
    """
    take = take or combine
    partial = tir.alloc_buffer((WIDTH,), "float32", scope="global")
    every = span(0, WIDTH)
    start = splat("float32", neutral, WIDTH)
    tir.buffer_store(partial, start, [every])
    full, rest = divmod(size, WIDTH)
    if full:
        with tir.serial(full) as i:
            tir.buffer_store(partial, take(partial[every], values(i * WIDTH, WIDTH)), [every])
        if rest:
            last = kept(values(size - WIDTH, WIDTH))
            new = tir.ramp(0, 1, WIDTH) >= splat("int32", WIDTH - rest, WIDTH)
            last = kept(tir.Select(new, last, start))
            tir.buffer_store(partial, take(partial[every], last), [every])
    else:
        with tir.serial(rest) as i:
            tir.buffer_store(partial, take(partial[i], values(i, 1)), [i])
    vector, width = kept(partial[every]), WIDTH
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
