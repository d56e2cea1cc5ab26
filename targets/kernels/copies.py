"""Copy elements between views: what Move and Concat are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.blocks import power_of_two
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.strided import Spot, ceil_power_of_two, for_each
from qcompile.targets.kernels.view import View, align


def copy(
    source: Any,
    x: View,
    target: Any,
    y: View,
    *,
    lanes: int,
    starts: Sequence[Expr] | None = None,
    parallel: bool = False,
) -> None:
    """Emit y = x, of equal shape or else reshaped in row-major order.

    Args:
        source: The buffer of x.
        x: What is read.
        target: The buffer of y.
        y: Where it goes.
        lanes: Elements of a vector.
        starts: Where x and y begin, if not at their own offsets.
        parallel: Whether threads share the work.
    """
    pair = (x, y) if x.shape == y.shape else align(x, y)
    if pair is None:
        assert starts is None
        _copy_each(source, x, target, y)
        return

    def step(x_spot: Spot, y_spot: Spot) -> None:
        y_spot.store(target, x_spot.load(source))

    for_each(pair, step, lanes=lanes, narrowest=1, starts=starts, parallel=parallel)


def copy_row(
    source: Any, x: Expr, target: Any, y: Expr, size: int, *, room: int, lanes: int
) -> None:
    """Emit the copy of neighbours; up to `room` of them may be copied, where that is quicker.

    Args:
        source: What is read.
        x: From where on.
        target: What is written.
        y: From where on.
        size: How many elements must be copied.
        room: How many elements there are at least on both sides.
        lanes: Elements of a vector.
    """

    def emit(position: Expr, width: int) -> None:
        number = source[span(x + position, width)]
        tir.buffer_store(target, number, [span(y + position, width)])

    count, rest = divmod(size, lanes)
    if count:
        with tir.serial(count) as index:
            emit(index * lanes, lanes)
    done = count * lanes
    while rest:
        width = ceil_power_of_two(rest)
        if done + width > room:
            if width <= size:
                emit(size - width, width)
                return
            width = power_of_two(rest)
        emit(done, width)
        done, rest = done + width, max(0, rest - width)


def _copy_each(source: Any, x: View, target: Any, y: View) -> None:
    """Emit a reshape element by element, through the row-major index of each."""
    with tir.serial(math.prod(x.shape)) as index:
        number = source[x.at(index)]
        tir.buffer_store(target, number, [y.at(index)])


def elements(lanes: int, dtype: str) -> int:
    """Return how many elements of a type fill a vector of `lanes` 32-bit lanes."""
    return 4 * lanes // np.dtype(dtype).itemsize
