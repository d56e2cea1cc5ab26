"""The last word of tuning: a tuned model that is slower as a whole goes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx_ir as ir

from qcompile.measuring import timed
from qcompile.target import Arrays, Built, Target
from qcompile.threads import using
from qcompile.tuning import THREADS

ROUNDS = 15
"""Rounds in which both have their turn, one after the other."""

LONGEST = 2.0
"""Seconds after which no round is begun, but for the first three."""

FEWEST = 3


def faster(
    tuned: Built,
    untuned: Built,
    target: Target,
    graph: ir.Model,
    inputs: Arrays,
    clock: Callable[[], float] = time.monotonic,
) -> Built:
    """Return the tuned library, or the untuned one where that is the faster.

    The median over the rounds of tuned over untuned decides: kernels that were measured one
    by one share caches in a model.

    Args:
        tuned: Built as a tuning log says.
        untuned: Built without it.
        target: Both are of it, and run here.
        graph: What both compute.
        inputs: What they are run on.
        clock: Seconds that rise.
    """
    if tuned.library == untuned.library:
        return tuned
    ratios: list[float] = []
    end = clock() + LONGEST
    with tempfile.TemporaryDirectory(prefix="qcompile-") as folder, using(THREADS):
        runners = []
        for name, built in (("tuned", tuned), ("untuned", untuned)):
            path = Path(folder) / f"{name}.so"
            path.write_bytes(built.library)
            runners.append(timed(target.lowering.load(path, graph), target))
        with closing(runners[0]), closing(runners[1]):
            while len(ratios) < ROUNDS and (len(ratios) < FEWEST or clock() < end):
                one, other = (float(each.measure(inputs, 1).sum()) for each in runners)
                ratios.append(one / other)
    return tuned if np.median(ratios) <= 1 else untuned
