"""The range whose 8-bit histogram tells most about the float one: TensorRT's calibration.

Szymon Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017, slides 38-43:
of all thresholds take the one for which KL(P || Q) is least, P being the clipped histogram
with the outliers added to its last bin, Q the same bins merged into the levels there are.
"""

from __future__ import annotations

import numpy as np

from qcompile.calibration.histogram import HALF, Floats, Histogram
from qcompile.quant import QuantSpec

BINS_PER_LEVEL = 16
"""As in TensorRT: 2048 bins for 128 levels."""

NEARLY_ALL = 0.999
"""Share of the values that must not all fall on one level."""


def divergence(counts: Floats, stop: int, levels: int) -> float:
    """Return KL(P || Q) of keeping the bins before `stop` and quantizing them to `levels`.

    A last bin that only holds outliers has no value of its own that Q could keep: it counts
    there as half a value, so that one outlier beyond a gap does not forbid the range.
    """
    kept = counts[:stop]
    occupied = kept > 0
    if not occupied.any():
        return np.inf
    reference = kept.copy()
    reference[-1] += counts[stop:].sum()
    merged = np.arange(levels) * kept.size // levels
    share = np.add.reduceat(occupied, merged, dtype=np.float64)
    mean = np.add.reduceat(kept, merged) / np.maximum(share, 1)
    quantized = np.repeat(mean, np.diff(merged, append=kept.size))
    seen = reference > 0
    p = reference[seen] / reference.sum()
    q = np.where(occupied[seen], quantized[seen], 0.5)
    return float(np.sum(p * np.log(p / (q / q.sum()))))


def entropy_range(histogram: Histogram, spec: QuantSpec) -> tuple[float, float]:
    """Return the (low, high) of least divergence.

    The threshold is searched on |x|; an affine scheme then searches its upper end on the
    signed axis within the threshold, and its lower end after it. Exact zeros are left out:
    every grid holds 0, so their spike says nothing about the range.
    """
    qmin, qmax = spec.bounds
    values = _without_zeros(histogram)
    if not values.total:
        return 0.0, 0.0
    if spec.symmetric:
        levels = min(qmax - spec.middle, spec.middle - qmin) + 1
        threshold = _threshold(values.magnitudes(), levels)
        return -threshold, threshold
    levels = qmax - qmin + 1
    threshold = _threshold(values.magnitudes(), levels)
    low = max(min(values.minimum, 0.0), -threshold)
    high = min(max(values.maximum, 0.0), threshold)
    return _ends(values, low, high, levels)


def _threshold(magnitudes: Histogram, levels: int) -> float:
    """Return the best upper end for |x|.

    A far outlier costs a few rounds, not the resolution of the rest: an end so far out that
    nearly all values would share the lowest level is moved in first, and where the smallest
    range of a search is the best, it is searched again inside.
    """
    bins = BINS_PER_LEVEL * levels
    high = min(magnitudes.maximum, levels * magnitudes.quantile(NEARLY_ALL))
    stop = levels
    while stop == levels:
        counts = magnitudes.linear(bins, 0.0, high)
        stop = _search(counts, levels, range(levels, bins + 1))
        high *= stop / bins
    return high


def _ends(values: Histogram, low: float, high: float, levels: int) -> tuple[float, float]:
    """Return the best ends on the signed axis, each on its side of 0."""
    bins = BINS_PER_LEVEL * levels
    edges = np.linspace(low, high, bins + 1)
    counts = values.linear(bins, low, high)
    zero = min(int(np.searchsorted(edges, 0.0, side="right")), bins)
    stop = _search(counts, levels, range(max(levels, zero), bins + 1))
    # The lower end is the upper end of the same counts read backwards.
    kept = counts[:stop].copy()
    kept[-1] += counts[stop:].sum()
    size = _search(kept[::-1], levels, range(max(levels, stop - zero + 1), stop + 1))
    return float(edges[stop - size]), float(edges[stop])


def _search(counts: Floats, levels: int, stops: range) -> int:
    """Return the `stop` of least divergence: some of them first, then all near the best."""

    def error(stop: int) -> float:
        return divergence(counts, stop, levels)

    step = max(levels // 8, 1)
    best = min((*stops[::step], stops[-1]), key=error)
    return min(range(max(best - step, stops[0]), min(best + step, stops[-1]) + 1), key=error)


def _without_zeros(histogram: Histogram) -> Histogram:
    result = Histogram()
    result.merge(histogram)
    result.counts[[0, HALF]] = 0
    return result
