"""One configuration in a process of its own: opens a model, then runs it when it is told.

Runtimes keep threads that spin on each other's cores, and share allocators and libraries when
they share a process; so each configuration has its own and sleeps while another is measured.

It is started with the name of a runtime, a model, an .npz of inputs, a number of threads and
an option of the runtime. It answers with lines of JSON: first an empty list, or a string that
says why the model cannot be opened; then, for each line `SECONDS RUNS` on standard input, the
list of the seconds that each run took, for at least so long and so many.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtimes import RUNTIMES

WARM_UP = 0.2
"""Share of a turn's seconds that is run first and not counted."""

SENTENCES = ("CompileError", "UnavailableError")
"""Errors whose text needs no name before it."""


def main() -> int:
    """Open the model, say so, then answer each line."""
    runtime, model, inputs_file, threads, option = sys.argv[1:]
    with np.load(inputs_file) as arrays:
        inputs = {name: arrays[name] for name in arrays}
    try:
        run = RUNTIMES[runtime](Path(model), int(threads), inputs, option)
        run()
    except Exception as error:
        answer(reason(error))
        return 1
    answer([])
    gc.collect()
    gc.disable()
    for line in sys.stdin:
        seconds, runs = line.split()
        answer(turn(run, float(seconds), int(runs)))
    return 0


def reason(error: Exception) -> str:
    """Return what went wrong in one line: the first that does not only say where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = next((line for line in lines if not line.endswith(":")), "")
    name = type(error).__name__
    return line if name in SENTENCES else f"{name}: {line}"


def answer(value: object) -> None:
    """Write a line."""
    print(json.dumps(value), flush=True)


def turn(run: Callable[[], Any], seconds: float, runs: int) -> list[float]:
    """Return the seconds of each run, for about that long."""
    end = time.perf_counter() + seconds * WARM_UP
    run()
    while time.perf_counter() < end:
        run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < runs or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    sys.exit(main())
