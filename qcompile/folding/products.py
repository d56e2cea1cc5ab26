"""What a kernel multiplies in float32 must neither overflow nor vanish."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qcompile.folding.folding import UnfoldableError
from qcompile.numerics import F32
from qcompile.quant import LEAST_SCALE

LARGEST = float(np.finfo(np.float32).max)

LARGEST_STEPS = 255
"""How far an 8-bit integer lies from its zero point at most."""


Term = tuple[F32, int | npt.NDArray[np.int64]]
"""Multipliers, and the largest magnitude of the integers that each is for."""


def check_products(*terms: Term) -> None:
    """Refuse a sum of products `multiplier * integer` that float32 cannot hold.

    A single channel may vanish beside the others, all of them together may not.

    Args:
        terms: What is added up.

    Raises:
        UnfoldableError: A product may overflow, or every one would be subnormal.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = [
            np.abs(multiplier.astype(np.float64)) * np.asarray(largest, np.float64)
            for multiplier, largest in terms
        ]
        total = sum(size.max(initial=0.0) for size in sizes)
    if not total <= LARGEST:
        raise UnfoldableError("its scales are so far apart that float32 overflows")
    for multiplier, largest in terms:
        if np.any(largest) and np.abs(multiplier).max() < LEAST_SCALE:
            raise UnfoldableError("its scales are so far apart that float32 vanishes")
