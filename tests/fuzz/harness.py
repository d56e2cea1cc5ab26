"""Run mutants in a worker process: each in a bounded time, and a dead worker is a finding."""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

LIMIT_S = 10.0
"""For one mutant."""

START_S = 120.0
ROOT = Path(__file__).parents[2]


class Worker:
    """A process of `tests.fuzz.worker`, started again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def ask(self, kind: str, path: Path) -> tuple[str, str]:
        """Return ("read" | "refused" | "fault", text) of one mutant."""
        process = self._running()
        assert process.stdin is not None
        begin = time.monotonic()
        process.stdin.write(f"{kind} {path}\n")
        process.stdin.flush()
        line = self._line(LIMIT_S)
        if line:
            outcome, text = json.loads(line)
            return outcome, text
        late = time.monotonic() - begin >= LIMIT_S
        text = f"over {LIMIT_S:g} s" if late else f"the process died: {process.wait()}"
        self._stop()
        return "fault", text

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=ROOT,
                env=os.environ | {"TVM_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
            assert self._line(START_S), "the worker does not start"
        return self._process

    def _line(self, seconds: float) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        return self._process.stdout.readline() if ready else ""

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None


Mutation = Callable[[random.Random], bytes]
"""Makes one mutant."""


def fuzz(
    worker: Worker, kind: str, mutant: Mutation, count: int, folder: Path, suffix: str
) -> Counter[str]:
    """Feed `count` mutants to a worker; return how many were read and refused.

    Raises:
        AssertionError: A mutant is a finding; its file stays in the folder under its number.
    """
    outcomes: Counter[str] = Counter()
    findings = []
    for number in range(count):
        path = folder / f"{number}{suffix}"
        path.write_bytes(mutant(random.Random(f"{kind} {number}")))
        outcome, text = worker.ask(kind, path)
        outcomes[outcome] += 1
        if outcome == "fault":
            findings.append(f"{path}: {text}")
        else:
            path.unlink()
    assert not findings, f"{len(findings)} of {count}\n" + "\n".join(findings[:20])
    return outcomes
