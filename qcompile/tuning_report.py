"""What a tuning run did, in figures."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneReport:
    """What `tune --json` prints, beside the log's path.

    Attributes:
        kernels: Distinct kernels of the model that have tile sizes to choose.
        known: Those that the log knew already.
        measured: Those that were measured now.
        left: Those for which there was no time.
        better: Measured ones for which another tile than the cost model's is faster.
        seconds: How long it took.
    """

    kernels: int
    known: int
    measured: int
    left: int
    better: int
    seconds: float
