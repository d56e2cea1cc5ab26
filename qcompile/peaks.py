"""What a machine can do at most, and how long a kernel must take there at least."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Measured limits of one machine with so many threads.

    Attributes:
        macs_per_second: Of the dot instruction on registers.
        float_macs_per_second: Of the fused multiply-add of floats on registers.
        copies: Bytes read and written by a copy, and how many a second; rising in size.
    """

    macs_per_second: float
    float_macs_per_second: float
    copies: tuple[tuple[int, float], ...]

    def arithmetic_seconds(self, macs: int, *, real: bool = False) -> float:
        """Return the time of so many multiply-accumulates at the peak of their kind."""
        return macs / (self.float_macs_per_second if real else self.macs_per_second)

    def memory_seconds(self, size: int) -> float:
        """Return the time of reading and writing so many bytes.

        The bandwidth is that of the smallest copy of at least that size.
        """
        if not size:
            return 0.0
        speeds = [speed for most, speed in self.copies if size <= most]
        return size / (speeds or [self.copies[-1][1]])[0]
