"""What both convolution templates ask of shapes and do to constants before packing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qcompile.targets.layout import Layout

Pair = tuple[int, int]


def require_window(
    x: Layout, y: Layout, kernel: Pair, strides: Pair, dilations: Pair, pads: Pair
) -> None:
    """Raise ValueError unless every window of y lies in x and its halo."""
    if x.n != y.n:
        raise ValueError(f"{x.n} images in, {y.n} out")
    stored = ((x.halo.top, x.h, x.halo.bottom), (x.halo.left, x.w, x.halo.right))
    for axis, (before, size, after) in enumerate(stored):
        reach = ((y.h, y.w)[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis]
        if pads[axis] > before or reach - pads[axis] >= size + after:
            raise ValueError(
                f"axis {'hw'[axis]}: windows from {-pads[axis]} to {reach - pads[axis]} leave "
                f"{size} stored elements with a halo of {before} and {after}"
            )


def fold_zero_point(
    weight: npt.NDArray[np.int8], bias: npt.NDArray[np.integer], x_zero_point: int
) -> npt.NDArray[np.int32]:
    """Return bias - x_zero_point * sum(w) for each output channel, modulo 2**32.

    The modulus is harmless: int32 sums wrap alike, and the final one fits.
    """
    sums = weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    folded = bias.astype(np.int64) - x_zero_point * sums
    return np.asarray(folded.astype(np.uint32).view(np.int32), np.int32)


def padded(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return a vector with zeros appended."""
    return np.concatenate([values, np.zeros(size - len(values), values.dtype)])
