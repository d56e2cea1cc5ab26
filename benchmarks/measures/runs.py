"""Models as functions, and the figures that several measures show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark_model import Sample
from qcompile.validation.accuracy import accuracy
from qcompile.validation.deviation import Deviation
from tables import Row

Array = npt.NDArray[Any]
Run = Callable[[Sample], Mapping[str, Array]]
"""A model: inputs by name to outputs by name."""
Measure = Callable[[Run, Run], list[Row]]
"""Compiled model and float model to a table."""


def first_output(run: Run, sample: Sample) -> Array:
    """Return the first output for one sample."""
    return next(iter(run(sample).values()))


def paired(
    labels: Sequence[object], ours: Sequence[object], theirs: Sequence[object]
) -> dict[str, object]:
    """Return how many answers are right, and the drop with its 95 % interval."""
    right, float_right = (
        np.array([answer == label for answer, label in zip(answers, labels, strict=True)], int)
        for answers in (ours, theirs)
    )
    figures = accuracy(np.ones(len(labels), int), right, float_right)
    assert figures["ci95"] is not None
    low, high = figures["ci95"]
    same = [our == their for our, their in zip(ours, theirs, strict=True)]
    return {
        "samples": len(labels),
        "float": figures["float"],
        "int8": figures["compiled"],
        "drop": figures["drop"],
        "95 % interval": f"{low:+.4f} to {high:+.4f}",
        "same answer": float(np.mean(same)),
    }


def deviation(ours: Sequence[Array], theirs: Sequence[Array]) -> dict[str, object]:
    """Return SQNR and cosine over all answers, and the largest error."""
    sums = Deviation()
    for our, their in zip(ours, theirs, strict=True):
        sums.add(their, our)
    return {
        "SQNR dB": sums.sqnr_db,
        "cosine": sums.cosine,
        "largest error": sums.max_abs_error,
    }
