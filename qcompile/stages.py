"""The steps of a compile, timed and shown on a terminal as they run."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


class Stages:
    """Times named steps; on a terminal each is shown on one line of stderr.

    Attributes:
        seconds: How long each finished step took, in order.
        progress: Whether to show anything at all.
    """

    def __init__(self, *, progress: bool) -> None:
        self.seconds: dict[str, float] = {}
        self.progress = progress and sys.stderr.isatty()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block; a step entered twice adds up."""
        start = time.perf_counter()
        if self.progress:
            print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
        if self.progress:
            print(f"{name}: {spent:.1f} s", file=sys.stderr, flush=True)
