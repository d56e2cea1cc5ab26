"""How far the compiled outputs lie from the float ones: SQNR, cosine, largest error."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

MOST_DB = 200.0
"""The SQNR of no noise at all, as JSON has no infinity."""

NEXT_DB = 199.99
"""The largest SQNR with noise: a last bit in a million float32 numbers is 199 to 205 dB."""


@dataclasses.dataclass
class Deviation:
    """Sums over all samples of one output, from which every figure follows.

    sqnr = 10 log10(sum r^2 / sum (r - y)^2)     cosine = sum r y / sqrt(sum r^2 sum y^2)

    Sums are over the finite pairs. What is NaN or infinite in both alike is no deviation;
    what is so in one only is counted, and such an output has the worst figures there are.
    """

    signal: float = 0.0
    noise: float = 0.0
    energy: float = 0.0
    product: float = 0.0
    max_abs_error: float = 0.0
    not_finite: int = 0

    def add(self, reference: npt.NDArray[np.generic], output: npt.NDArray[np.generic]) -> None:
        """Add the answers to some samples, in float64."""
        r, y = reference.astype(np.float64).ravel(), output.astype(np.float64).ravel()
        finite = np.isfinite(r) & np.isfinite(y)
        alike = (r == y) | (np.isnan(r) & np.isnan(y))
        self.not_finite += int(np.count_nonzero(~finite & ~alike))
        r, y = r[finite], y[finite]
        error = r - y
        self.signal += float(r @ r)
        self.noise += float(error @ error)
        self.energy += float(y @ y)
        self.product += float(r @ y)
        self.max_abs_error = max(self.max_abs_error, float(np.abs(error).max(initial=0.0)))

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise in decibels; MOST_DB where there is no noise."""
        if self.not_finite:
            return -MOST_DB
        if self.noise == 0.0:
            return MOST_DB
        if self.signal == 0.0:
            return -MOST_DB
        decibels = 10.0 * math.log10(self.signal / self.noise)
        return min(max(decibels, -MOST_DB), NEXT_DB)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between all reference answers and all outputs."""
        if self.not_finite:
            return 0.0
        if self.noise == 0.0:
            return 1.0
        length = math.sqrt(self.signal * self.energy)
        return self.product / length if length else 0.0
