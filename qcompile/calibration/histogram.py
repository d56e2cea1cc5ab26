"""A streaming histogram, one bucket a bfloat16: no range to guess, exact to merge."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SIZE = 1 << 16
HALF = SIZE // 2
INFINITY = 0x7F80
"""Bucket of +inf; those above it, up to HALF, hold NaN."""

RELATIVE_WIDTH = 2.0**-7
"""Width of a bucket over its lower edge, where values are not subnormal."""


def _magnitude_edges() -> Floats:
    """Return the lower edges of the finite buckets without sign, and the last upper edge."""
    bits = np.arange(INFINITY, dtype=np.uint32) << np.uint32(16)
    edges = bits.view(np.float32).astype(np.float64)
    return np.append(edges, 2.0**128)


EDGES = _magnitude_edges()


@dataclasses.dataclass(frozen=True)
class Buckets:
    """The occupied buckets in increasing order of value.

    Attributes:
        lower: Lower edges; the first is the least value seen.
        upper: Upper edges; the last is the greatest value seen.
        counts: How many values lie in each, at least one.
    """

    lower: Floats
    upper: Floats
    counts: npt.NDArray[np.int64]

    @property
    def centers(self) -> Floats:
        """The middle of each bucket."""
        return (self.lower + self.upper) / 2


class Histogram:
    """Counts of the values seen so far, 512 KiB however many there were.

    The bucket of a value is the upper half of its float32: sign, 8 bits of exponent, 7 of
    mantissa. A bucket is therefore at most 1/128 of its value wide wherever the value lies,
    so that an outlier takes nothing from the resolution of the rest.

    Attributes:
        counts: int64[65536], by bucket.
        minimum: The least value seen, exactly; inf before the first.
        maximum: The greatest value seen, exactly; -inf before the first.
    """

    __slots__ = ("counts", "maximum", "minimum")

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(SIZE, np.int64)
        self.minimum = np.inf
        self.maximum = -np.inf

    @property
    def total(self) -> int:
        """The number of values seen."""
        return int(self.counts.sum())

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Count values, rounded to float32 first.

        Raises:
            ValueError: A value is NaN or infinite in float32; nothing is counted then.
        """
        with np.errstate(over="ignore"):
            flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        if flat.size == 0:
            return
        upper_half = flat.view(np.uint16)[1 if sys.byteorder == "little" else 0 :: 2]
        counts = np.bincount(upper_half, minlength=SIZE)
        bad = int(counts[INFINITY:HALF].sum() + counts[HALF + INFINITY :].sum())
        if bad:
            raise ValueError(f"{bad} of {flat.size} values are NaN or infinite")
        self.counts += counts
        self.minimum = min(self.minimum, float(flat.min()))
        self.maximum = max(self.maximum, float(flat.max()))

    def merge(self, other: Histogram) -> None:
        """Add what another histogram has seen; the same as having seen it here."""
        self.counts += other.counts
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    def magnitudes(self) -> Histogram:
        """Return the histogram of the absolute values."""
        result = Histogram()
        if self.total:
            result.counts[:HALF] = self.counts[:HALF] + self.counts[HALF:]
            result.maximum = max(-self.minimum, self.maximum)
            crosses = self.minimum <= 0.0 <= self.maximum
            least = EDGES[np.flatnonzero(result.counts)[0]]
            outer = min(abs(self.minimum), abs(self.maximum))
            result.minimum = float(least) if crosses else outer
        return result

    def buckets(self) -> Buckets:
        """Return the occupied buckets, clipped to the least and greatest value seen."""
        negative = np.flatnonzero(self.counts[HALF:])[::-1]
        positive = np.flatnonzero(self.counts[:HALF])
        lower = np.concatenate([-EDGES[negative + 1], EDGES[positive]])
        upper = np.concatenate([-EDGES[negative], EDGES[positive + 1]])
        return Buckets(
            np.clip(lower, self.minimum, self.maximum),
            np.clip(upper, self.minimum, self.maximum),
            np.concatenate([self.counts[HALF + negative], self.counts[positive]]),
        )

    def quantile(self, q: float) -> float:
        """Return the value below which a share `q` of the values lies, as np.quantile does.

        Exact at 0 and 1, in between within one bucket of the exact answer: the two values
        that rank next to it are each placed evenly in their bucket.

        Raises:
            ValueError: The histogram is empty, or q is not in [0, 1].
        """
        total = self.total
        if total == 0 or not 0.0 <= q <= 1.0:
            raise ValueError(f"no quantile {q} of {total} values")
        buckets = self.buckets()
        rank = q * (total - 1)
        below, above = int(np.floor(rank)), int(np.ceil(rank))
        share = rank - below
        return (1 - share) * self._ranked(buckets, below) + share * self._ranked(
            buckets, above
        )

    def linear(self, bins: int, low: float, high: float) -> Floats:
        """Return counts over equal bins of [low, high]; a bucket is spread over its width.

        What lies outside counts to the first or the last bin, a value on an inner edge to
        the bin above.
        """
        edges = np.linspace(low, high, bins + 1)
        buckets = self.buckets()
        point = buckets.upper <= buckets.lower
        points = np.clip(buckets.lower[point], low, high)
        result = np.histogram(points, edges, weights=buckets.counts[point])[0]
        cumulative = np.concatenate([[0], np.cumsum(buckets.counts[~point])])
        spread = np.zeros(bins + 1)
        if not point.all():
            # Between two buckets the cumulative count is flat: both edges are corners.
            corners = np.stack([buckets.lower[~point], buckets.upper[~point]], axis=1)
            heights = np.stack([cumulative[:-1], cumulative[1:]], axis=1)
            spread = np.interp(edges, corners.reshape(-1), heights.reshape(-1))
        spread[[0, -1]] = 0, cumulative[-1]
        return np.asarray(result + np.diff(spread), np.float64)

    def _ranked(self, buckets: Buckets, rank: int) -> float:
        if rank == 0:
            return self.minimum
        cumulative = np.cumsum(buckets.counts)
        if rank == cumulative[-1] - 1:
            return self.maximum
        index = int(np.searchsorted(cumulative, rank, side="right"))
        count = int(buckets.counts[index])
        place = (rank - (int(cumulative[index]) - count) + 0.5) / count
        lower, upper = float(buckets.lower[index]), float(buckets.upper[index])
        return lower + (upper - lower) * place
