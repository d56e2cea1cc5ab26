"""Figures of one model, at one number of threads and one batch, and what they come to."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from configurations import BOUND, OURS, is_int8
from turns import Measured


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What was measured side by side.

    Attributes:
        model: Its name.
        transformer: Whether it is one.
        threads: How many each configuration could use.
        batch: How many inputs a run took.
        load: The machine's load average afterwards; our own processes make about 1 of it.
        measured: By configuration.
        failed: Why the other configurations have no figures.
    """

    model: str
    transformer: bool
    threads: int
    batch: int
    load: float
    measured: Mapping[str, Measured]
    failed: Mapping[str, str]

    def ratios(self, name: str) -> list[float]:
        """Return how many times slower than ours a configuration was, round by round."""
        return self.measured[name].ratios(self.measured[OURS])

    def rivals(self, *, int8: bool = False) -> list[str]:
        """Return the measured rivals, fastest first; none where ours was not measured."""
        if OURS not in self.measured:
            return []
        names = [name for name in self.measured if name not in (OURS, BOUND)]
        chosen = [name for name in names if is_int8(name) or not int8]
        return sorted(chosen, key=lambda name: statistics.median(self.ratios(name)))

    def ahead(self, *, int8: bool = False, ours: str = OURS) -> float | None:
        """Return how many times as fast as the fastest rival ours is."""
        rivals = self.rivals(int8=int8)
        if not rivals or ours not in self.measured:
            return None
        return statistics.median(self.measured[rivals[0]].ratios(self.measured[ours]))

    def json(self) -> dict[str, Any]:
        """Return everything, for a file."""
        known = OURS in self.measured
        return {
            "model": self.model,
            "transformer": self.transformer,
            "threads": self.threads,
            "batch": self.batch,
            "load_average": self.load,
            "ahead_of_fastest": self.ahead(),
            "ahead_of_int8": self.ahead(int8=True),
            "bound_ahead_of_fastest": self.ahead(ours=BOUND),
            "configurations": {
                name: {
                    "median_ms": each.median,
                    "least_ms": each.least,
                    "spread": each.spread,
                    "rounds_ms": each.rounds,
                    "ratios": self.ratios(name) if known else None,
                }
                for name, each in self.measured.items()
            },
            "failed": dict(self.failed),
        }


def geomean(cases: list[Case], *, int8: bool, chosen: Callable[[Case], bool]) -> float | None:
    """Return the geometric mean of how far the chosen cases are ahead; None where none is."""
    ahead = [case.ahead(int8=int8) for case in cases if chosen(case)]
    known = [each for each in ahead if each is not None]
    return statistics.geometric_mean(known) if known else None
