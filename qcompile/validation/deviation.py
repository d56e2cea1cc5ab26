"""How far the compiled outputs lie from the float ones: SQNR, cosine, largest error."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass
class Deviation:
    """Sums over all samples of one output, from which every figure follows.

    sqnr = 10 log10(sum r^2 / sum (r - y)^2)     cosine = sum r y / sqrt(sum r^2 sum y^2)
    """

    signal: float = 0.0
    noise: float = 0.0
    energy: float = 0.0
    product: float = 0.0
    max_abs_error: float = 0.0

    def add(self, reference: npt.NDArray[np.generic], output: npt.NDArray[np.generic]) -> None:
        """Add the answers to some samples, in float64."""
        r, y = reference.astype(np.float64).ravel(), output.astype(np.float64).ravel()
        error = r - y
        self.signal += float(r @ r)
        self.noise += float(error @ error)
        self.energy += float(y @ y)
        self.product += float(r @ y)
        self.max_abs_error = max(self.max_abs_error, float(np.abs(error).max(initial=0.0)))

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise in decibels; inf where there is no noise."""
        if self.noise == 0.0:
            return math.inf
        return 10.0 * math.log10(self.signal / self.noise) if self.signal else -math.inf

    @property
    def cosine(self) -> float:
        """Cosine of the angle between all reference answers and all outputs."""
        if self.noise == 0.0:
            return 1.0
        length = math.sqrt(self.signal * self.energy)
        return self.product / length if length else 0.0
