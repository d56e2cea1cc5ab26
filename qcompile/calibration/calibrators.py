"""How observed values become the range that is quantized: one small function a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from qcompile.calibration.entropy import entropy_range
from qcompile.calibration.histogram import Histogram
from qcompile.calibration.outliers import Outliers, Peaks, find_outliers, within
from qcompile.calibration.squared_error import least_squares_range
from qcompile.quant import QuantSpec

MOMENTUM = 0.9
"""Share of the old moving average that a new sample leaves."""


@dataclasses.dataclass
class Observation:
    """What was seen of one value; enough for every calibrator, of one size for any data.

    Attributes:
        histogram: All numbers seen.
        moving_minimum: Moving average of the minima of the runs, in their order.
        moving_maximum: Moving average of the maxima of the runs, in their order.
        peaks: The greatest magnitude of each sample.
        suspects: How many samples have outliers in a value that this one is computed from.
    """

    histogram: Histogram = dataclasses.field(default_factory=Histogram)
    moving_minimum: float = np.inf
    moving_maximum: float = -np.inf
    peaks: Peaks = dataclasses.field(default_factory=Peaks)
    suspects: int = 0

    def add(self, array: npt.NDArray[np.generic], samples: int = 1) -> None:
        """Observe one run's array.

        Args:
            array: The numbers.
            samples: Of how many samples, if they lie along the first axis.

        Raises:
            ValueError: It holds NaN or infinity; nothing is observed then.
        """
        if array.size == 0:
            return
        self.histogram.add(array)
        rows = array.reshape(samples if array.shape[:1] == (samples,) else 1, -1)
        lows, highs = rows.min(axis=1), rows.max(axis=1)
        self.peaks.add(np.maximum(np.abs(lows), np.abs(highs)))
        minimum, maximum = float(lows.min()), float(highs.max())
        if self.moving_minimum > self.moving_maximum:
            self.moving_minimum, self.moving_maximum = minimum, maximum
        self.moving_minimum += (1 - MOMENTUM) * (minimum - self.moving_minimum)
        self.moving_maximum += (1 - MOMENTUM) * (maximum - self.moving_maximum)

    @property
    def outliers(self) -> Outliers | None:
        """What `mse` and `percentile` leave out."""
        return find_outliers(self.histogram, self.peaks, self.suspects)

    @property
    def ordinary(self) -> Histogram:
        """All numbers seen but the outliers."""
        outliers = self.outliers
        return self.histogram if outliers is None else within(self.histogram, outliers.kept)

    @property
    def minimum(self) -> float:
        """The least number seen."""
        return self.histogram.minimum

    @property
    def maximum(self) -> float:
        """The greatest number seen."""
        return self.histogram.maximum

    @property
    def count(self) -> int:
        """How many numbers were seen."""
        return self.histogram.total


class Calibrator(Protocol):
    """Chooses the range that a scheme should cover."""

    def __call__(self, observation: Observation, spec: QuantSpec, /) -> tuple[float, float]:
        """Return (low, high), finite; QParams.from_range widens it to hold 0."""
        ...


def min_max(observation: Observation, spec: QuantSpec) -> tuple[float, float]:
    """Cover everything that was seen."""
    return observation.minimum, observation.maximum


def moving_average(observation: Observation, spec: QuantSpec) -> tuple[float, float]:
    """Cover what a run usually spans; a rare sample counts less the longer it is past."""
    return observation.moving_minimum, observation.moving_maximum


def absmax(observation: Observation, spec: QuantSpec) -> tuple[float, float]:
    """Cover the greatest magnitude on each side that occurs at all."""
    greatest = max(-observation.minimum, observation.maximum)
    return (
        -greatest if observation.minimum < 0 else 0.0,
        greatest if observation.maximum > 0 else 0.0,
    )


@dataclasses.dataclass(frozen=True)
class Percentile:
    """Leave out the farthest numbers: of |x| if symmetric, half of them at each end if not.

    Attributes:
        share: The share of the numbers that stays.
    """

    share: float = 0.9999

    def __call__(self, observation: Observation, spec: QuantSpec, /) -> tuple[float, float]:
        """Return the range between the quantiles."""
        histogram = observation.ordinary
        if spec.symmetric:
            greatest = histogram.magnitudes().quantile(self.share)
            return -greatest, greatest
        rest = (1 - self.share) / 2
        return histogram.quantile(rest), histogram.quantile(1 - rest)


def kl(observation: Observation, spec: QuantSpec) -> tuple[float, float]:
    """Lose the least information (see `qcompile.calibration.entropy`)."""
    return entropy_range(observation.histogram, spec)


def mse(observation: Observation, spec: QuantSpec) -> tuple[float, float]:
    """Make the least squared error on all but outliers (see `squared_error.py`)."""
    return least_squares_range(observation.ordinary, spec)


CALIBRATORS: Mapping[str, Calibrator] = MappingProxyType(
    {
        "min-max": min_max,
        "moving-average": moving_average,
        "absmax": absmax,
        "percentile": Percentile(),
        "kl": kl,
        "mse": mse,
    }
)
"""The calibrators by the names that configs use."""

GUARDED = frozenset({"mse", "percentile"})
"""Those that leave out outliers (see `qcompile.calibration.outliers`)."""
