"""Let configurations, each in a process of its own, take turns at being measured."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WORKER = Path(__file__).parent / "worker.py"
LEAST = 5
"""Runs of a turn, however long they take."""
REST = 0.02
"""Seconds after a turn, in which threads that still spin go to sleep."""


class WorkerError(Exception):
    """A configuration that cannot be measured; one line says why."""


class Worker:
    """A configuration in its own process (see worker.py).

    Raises:
        WorkerError: It cannot open its model.
    """

    def __init__(
        self,
        runtime: str,
        model: Path,
        inputs: Path,
        threads: int,
        option: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, str(WORKER), runtime, str(model), str(inputs)]
        numbers = {"QCOMPILE_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [*command, str(threads), option],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | numbers | dict(variables or {}),
        )
        try:
            self._answer()
        except WorkerError:
            self.close()
            raise

    def measure(self, seconds: float, runs: int = LEAST) -> list[float]:
        """Return the seconds of each run of one turn.

        Raises:
            WorkerError: It ended.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(seconds, runs, file=self._process.stdin, flush=True)
        return self._answer()

    def peak_memory(self) -> float:
        """Return the most MB that the process has had in memory so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._errors.close()

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words())
        answer: list[float] | str = json.loads(line)
        if isinstance(answer, str):
            raise WorkerError(answer)
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"its process ended with status {status}: {said[-1] if said else 'no message'}"


@dataclasses.dataclass(frozen=True)
class Measured:
    """The rounds of one configuration.

    Attributes:
        rounds: The median milliseconds of each.
        least: The milliseconds of the fastest run.
    """

    rounds: list[float]
    least: float

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


def save_inputs(path: Path, inputs: Mapping[str, Any]) -> None:
    """Write the inputs of a run for a worker."""
    np.savez(path, allow_pickle=False, **inputs)


def alternate(
    workers: Mapping[str, Worker], rounds: int, seconds: float
) -> tuple[dict[str, Measured], dict[str, str]]:
    """Let the workers take turns; each round begins with another one.

    Returns:
        What was measured, and why the others were not: a worker that ends is left out.
    """
    names = list(workers)
    medians: dict[str, list[float]] = {name: [] for name in names}
    least = dict.fromkeys(names, math.inf)
    failed: dict[str, str] = {}
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            if name in failed:
                continue
            try:
                times = workers[name].measure(seconds)
            except WorkerError as error:
                failed[name] = str(error)
                continue
            medians[name].append(statistics.median(times) * 1e3)
            least[name] = min(least[name], min(times) * 1e3)
            time.sleep(REST)
    measured = {
        name: Measured(medians[name], least[name]) for name in names if name not in failed
    }
    return measured, failed
