"""The range whose 8-bit grid has the least expected squared error over a histogram."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from qcompile.calibration.histogram import Buckets, Floats, Histogram
from qcompile.quant import QParams, QuantSpec

OCTAVE = 64
"""Steps in which an end of the range moves, a factor of 2: finer than a bucket is wide."""

Place = tuple[int, ...]
"""How far each end of the range was moved toward 0, in steps of 1/OCTAVE octave."""


def expected_squared_error(buckets: Buckets, qparams: QParams) -> float:
    """Return the mean of (x - dequantize(quantize(x)))² over a histogram.

    Values are taken as spread evenly over their bucket, so a bucket wider than a step counts
    with the s²/12 of rounding. With u = x/s and k = clip(rint(u), qmin - z, qmax - z) the
    antiderivative of (u - k)² is k/12 + (u - k)³/3, inside the range and beyond it; a bucket
    much narrower than a step is evaluated at its center, where that difference cancels.
    """
    low, high = qparams.spec.bounds
    scale, zero_point = float(qparams.scale), int(qparams.zero_point)

    def nearest(u: Floats) -> Floats:
        return np.asarray(np.clip(np.rint(u), low - zero_point, high - zero_point))

    def antiderivative(u: Floats) -> Floats:
        k = nearest(u)
        rest = u - k
        return np.asarray(k / 12 + rest * rest * rest / 3)  # ** 3 calls pow: far slower

    lower, upper = buckets.lower / scale, buckets.upper / scale
    width = upper - lower
    narrow = width < 1e-3  # the center is then off by width²/12 < 1e-7 steps²
    center = (lower + upper) / 2
    spread = antiderivative(upper) - antiderivative(lower)
    error = np.where(
        narrow, (center - nearest(center)) ** 2, spread / np.where(narrow, 1.0, width)
    )
    return float(buckets.counts @ error) / float(buckets.counts.sum()) * scale**2


def least_squares_range(histogram: Histogram, spec: QuantSpec) -> tuple[float, float]:
    """Return the (low, high) that QParams.from_range turns into the best grid.

    Coarse to fine: every pair of ends, halved again and again down to the medians of the
    negative and of the positive values, then from the best pair in ever smaller steps. The
    whole range is among the pairs, so the answer is never worse than min-max.
    """
    buckets = histogram.buckets()
    ends = _Ends(histogram, spec)
    errors: dict[Place, float] = {}

    def error(place: Place) -> float:
        if place not in errors:
            qparams = QParams.from_range(spec, *ends.at(place))
            errors[place] = expected_squared_error(buckets, qparams)
        return errors[place]

    best = min(itertools.product(*(range(0, n + 1, OCTAVE) for n in ends.limits)), key=error)
    step = OCTAVE // 2
    while step:
        better = min(ends.neighbours(best, step), key=error)
        if error(better) < error(best):
            best = better
        else:
            step //= 2
    return ends.at(best)


class _Ends:
    """The ends of the range that may move: both, the one that is not 0, or |x| alone."""

    def __init__(self, histogram: Histogram, spec: QuantSpec) -> None:
        self.low, self.high = min(histogram.minimum, 0.0), max(histogram.maximum, 0.0)
        self.symmetric = spec.symmetric
        if spec.symmetric:
            self.low, self.high = 0.0, max(-self.low, self.high)
            halves = [_median(histogram.magnitudes().buckets(), self.high)]
        else:
            buckets = histogram.buckets()
            halves = [_median(buckets, self.low), _median(buckets, self.high)]
        self.limits = tuple(
            int(np.ceil(np.log2(abs(end) / half))) * OCTAVE if end else 0
            for end, half in zip(self._moving(), halves, strict=True)
        )

    def at(self, place: Place) -> tuple[float, float]:
        """Return the range at a place."""
        ends = [
            end * 2.0 ** (-steps / OCTAVE)
            for end, steps in zip(self._moving(), place, strict=True)
        ]
        return (-ends[0], ends[0]) if self.symmetric else (ends[0], ends[1])

    def neighbours(self, place: Place, step: int) -> Iterable[Place]:
        """Return the places one step away, the place itself among them."""
        return itertools.product(
            *(
                sorted({max(at - step, 0), at, min(at + step, limit)})
                for at, limit in zip(place, self.limits, strict=True)
            )
        )

    def _moving(self) -> tuple[float, ...]:
        return (self.high,) if self.symmetric else (self.low, self.high)


def _median(buckets: Buckets, end: float) -> float:
    """Return the median magnitude of the non-zero values on the side of `end`."""
    centers = buckets.centers
    side = (np.sign(centers) == np.sign(end)) & (centers != 0)
    if not side.any():
        return abs(end) or 1.0
    magnitudes, counts = np.abs(centers[side]), buckets.counts[side]
    order = np.argsort(magnitudes)
    cumulative = np.cumsum(counts[order])
    middle = int(np.searchsorted(cumulative, cumulative[-1] / 2))
    return float(min(magnitudes[order][middle], abs(end)))
