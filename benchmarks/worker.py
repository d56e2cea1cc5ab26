"""One configuration in a process of its own: opens a model, then runs it when it is told.

Runtimes keep threads that spin on each other's cores, and share allocators and libraries when
they share a process; so each configuration has its own and sleeps while another is measured.

It is started with the name of a runtime, a model, an .npz of inputs and a number of threads.
For each line on standard input, a number of seconds, it answers with a line: the JSON list of
the seconds that each run took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qcompile.target import Arrays

Open = Callable[[Path, int, Arrays], Callable[[], Any]]

WARM_UP = 0.2
"""Share of a turn's seconds that is run first and not counted."""

LEAST = 5
"""Runs of a turn, however long they take."""


def open_qcompile(model: Path, threads: int, inputs: Arrays) -> Callable[[], Any]:
    """Return a run of a compiled artifact."""
    import qcompile

    compiled = qcompile.load(model)
    return lambda: compiled.run(inputs)


def open_onnxruntime(model: Path, threads: int, inputs: Arrays) -> Callable[[], Any]:
    """Return a run of onnxruntime."""
    from qcompile.benchmark import peers

    run: Callable[[], Any] = peers.open_onnxruntime(model, threads, inputs)
    return run


def open_openvino(model: Path, threads: int, inputs: Arrays) -> Callable[[], Any]:
    """Return a run of OpenVINO."""
    from qcompile.benchmark import peers

    run: Callable[[], Any] = peers.open_openvino(model, threads, inputs)
    return run


RUNTIMES: Mapping[str, Open] = {
    "qcompile": open_qcompile,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}


def main() -> int:
    """Open the model, say so with an empty list, then answer each line."""
    runtime, model, inputs_file, threads = sys.argv[1:]
    os.environ["QCOMPILE_THREADS"] = threads
    with np.load(inputs_file) as arrays:
        inputs = {name: arrays[name] for name in arrays}
    run = RUNTIMES[runtime](Path(model), int(threads), inputs)
    run()
    print("[]", flush=True)
    for line in sys.stdin:
        print(json.dumps(turn(run, float(line))), flush=True)
    return 0


def turn(run: Callable[[], Any], seconds: float) -> list[float]:
    """Return the seconds of each run, for about that long."""
    end = time.perf_counter() + seconds * WARM_UP
    run()
    while time.perf_counter() < end:
        run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    sys.exit(main())
