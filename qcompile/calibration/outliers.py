"""Outliers: numbers far beyond all others, in too few samples for a range to hold them."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from qcompile.calibration.histogram import Histogram

GAP = 16.0
"""How many times larger than in any other sample an outlier is: half of the 8 bits."""

FEWEST_SAMPLES = 8
"""Of fewer samples none can be called unusual."""

SHARE_OF_SAMPLES = 0.01
"""One sample, or up to this share of them, may be unusual; what more samples have is not."""

SHARE_OF_NUMBERS = 1e-3
"""Of the numbers so few may be outliers; a sample that is large all over is data."""

OCTAVES = 512
"""Twice as many as float32 has exponents: no index needs a bound."""


@dataclasses.dataclass(frozen=True)
class Outliers:
    """What is left out of a range.

    Attributes:
        kept: The greatest magnitude in all the other samples.
        greatest: The greatest magnitude there is.
        numbers: How many numbers lie beyond `kept`.
        total: How many numbers there are.
        samples: How many samples have such numbers.
        follows: Whether they are many numbers, and outliers only because a value before this
            one has outliers in as many samples.
    """

    kept: float
    greatest: float
    numbers: int
    total: int
    samples: int
    follows: bool


class Peaks:
    """The greatest magnitude of every sample seen: for each octave how many, and both ends."""

    __slots__ = ("counts", "greatest", "least")

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(OCTAVES, np.int64)
        self.least: npt.NDArray[np.float64] = np.full(OCTAVES, np.inf)
        self.greatest: npt.NDArray[np.float64] = np.zeros(OCTAVES)

    def add(self, peaks: npt.NDArray[np.floating]) -> None:
        """Count samples; one whose numbers are all 0 counts as a sample."""
        peaks = peaks.astype(np.float64)
        octaves = np.where(peaks > 0, np.frexp(peaks)[1] + OCTAVES // 2, 0)
        np.add.at(self.counts, octaves, 1)
        np.minimum.at(self.least, octaves, peaks)
        np.maximum.at(self.greatest, octaves, peaks)

    def gap(self) -> tuple[float, int] | None:
        """Return the greatest ordinary magnitude, and how many samples lie beyond, if any."""
        total = int(self.counts.sum())
        few = max(1, int(total * SHARE_OF_SAMPLES))
        occupied = [int(octave) for octave in np.flatnonzero(self.counts[1:]) + 1]
        beyond, found = 0, None
        for below, octave in zip(occupied[-2::-1], occupied[::-1], strict=False):
            beyond += int(self.counts[octave])
            if total < FEWEST_SAMPLES or beyond > few:
                break
            if self.least[octave] >= GAP * self.greatest[below]:
                found = float(self.greatest[below]), beyond
        return found


def find_outliers(histogram: Histogram, peaks: Peaks, suspects: int = 0) -> Outliers | None:
    """Return what should be left out of the range.

    A value that is computed from one with an outlier may have many: a convolution spreads
    one number over its window, a matrix product over everything.

    Args:
        histogram: All numbers.
        peaks: The greatest magnitude of each sample.
        suspects: How many samples have outliers in a value before this one.
    """
    gap = peaks.gap()
    if gap is None:
        return None
    kept, samples = gap
    total = histogram.total
    numbers = total - within(histogram, kept).total
    few = numbers <= total * SHARE_OF_NUMBERS
    if not few and samples > suspects:
        return None
    greatest = max(-histogram.minimum, histogram.maximum)
    return Outliers(kept, greatest, numbers, total, samples, follows=not few)


def within(histogram: Histogram, magnitude: float) -> Histogram:
    """Return the histogram of the numbers up to a magnitude; its last bucket stays whole."""
    inner = Histogram()
    last = int(np.float32(magnitude).view(np.uint32)) >> 16
    for sign in (0, 1 << 15):
        inner.counts[sign : sign + last + 1] = histogram.counts[sign : sign + last + 1]
    inner.minimum = max(histogram.minimum, -magnitude)
    inner.maximum = min(histogram.maximum, magnitude)
    return inner


def warnings_of(outliers: dict[str, Outliers]) -> list[str]:
    """Return one line for each value with outliers of its own, and one for all that follow."""
    own = [
        f"value {name!r}: {each.numbers} of {each.total} numbers, up to {each.greatest:.3g}, "
        f"in {each.samples} of the samples are left out of its range, as all others end at "
        f"{each.kept:.3g}; `--calibrator min-max` keeps them"
        for name, each in outliers.items()
        if not each.follows
    ]
    follow = [repr(name) for name, each in outliers.items() if each.follows]
    if follow:
        own.append(f"the same samples are left out of the range of {', '.join(follow)}")
    return own
