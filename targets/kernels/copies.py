"""Copy elements between views: what Move and Concat are made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View, align


def copy(
    source: Any, x: View, target: Any, y: View, *, lanes: int, parallel: bool = False
) -> None:
    """Emit y = x, of equal shape or else reshaped in row-major order."""
    pair = (x, y) if x.shape == y.shape else align(x, y)
    if pair is None:
        _copy_each(source, x, target, y)
        return

    def step(x_spot: Spot, y_spot: Spot) -> None:
        y_spot.store(target, x_spot.load(source))

    for_each(pair, step, lanes=lanes, parallel=parallel)


def _copy_each(source: Any, x: View, target: Any, y: View) -> None:
    """Emit a reshape element by element, through the row-major index of each."""
    with tir.serial(math.prod(x.shape)) as index:
        number = source[x.at(index)]
        tir.buffer_store(target, number, [y.at(index)])


def elements(lanes: int, dtype: str) -> int:
    """Return how many elements of a type fill a vector of `lanes` 32-bit lanes."""
    return 4 * lanes // np.dtype(dtype).itemsize
