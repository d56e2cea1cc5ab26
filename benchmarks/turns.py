"""Let configurations, each in a process of its own, take turns at being measured."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

WORKER = Path(__file__).parent / "worker.py"


class Worker:
    """A configuration in its own process (see worker.py)."""

    def __init__(self, runtime: str, model: Path, inputs: Path, threads: int) -> None:
        command = [sys.executable, str(WORKER), runtime, str(model), str(inputs)]
        self._name = f"{runtime} on {model}"
        self._process = subprocess.Popen(
            [*command, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def measure(self, seconds: float) -> list[float]:
        """Return the seconds of each run of one turn."""
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended: {self._name}")
        times: list[float] = json.loads(line)
        return times


@dataclasses.dataclass(frozen=True)
class Measured:
    """The rounds of one configuration: the median milliseconds of each."""

    rounds: list[float]

    @property
    def median(self) -> float:
        """The median round."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """How far the rounds lie apart, as a share of their median."""
        return (max(self.rounds) - min(self.rounds)) / self.median

    def ratios(self, ours: Measured) -> list[float]:
        """Return how many times slower than ours each round was."""
        return [mine / our for mine, our in zip(self.rounds, ours.rounds, strict=True)]


def alternate(
    workers: Mapping[str, Worker], rounds: int, seconds: float
) -> dict[str, Measured]:
    """Let the workers take turns; each round begins with another one."""
    names = list(workers)
    medians: dict[str, list[float]] = {name: [] for name in names}
    try:
        for index in range(rounds):
            first = index % len(names)
            for name in names[first:] + names[:first]:
                times = workers[name].measure(seconds)
                medians[name].append(statistics.median(times) * 1e3)
    finally:
        for worker in workers.values():
            worker.close()
    return {name: Measured(each) for name, each in medians.items()}
