"""How much accuracy a compiled model loses, with the interval that paired answers allow.

Both models answer the same samples, so what tells them apart is only the samples that one
gets right and the other wrong. With b = right in float only, c = right compiled only and n
samples, the drop is (b - c) / n and its interval is the adjusted Wald interval of

    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched
    proportions", Statistics in Medicine 24 (2005) 729-740:

half a sample is added to each of the four cells, then the Wald interval is taken. Unlike
the plain Wald interval it does not collapse to a point where b = c = 0.
"""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
import numpy.typing as npt

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


class Accuracy(TypedDict):
    """Shares of the samples; the float figures are null where there was no reference.

    `drop` is float - compiled, `ci95` its interval, `agreement` the share of samples where
    both models give the same class, right or wrong.
    """

    float: float | None
    compiled: float
    drop: float | None
    ci95: list[float] | None
    agreement: float | None


def accuracy(
    labels: npt.NDArray[np.integer],
    compiled: npt.NDArray[np.integer],
    reference: npt.NDArray[np.integer] | None,
) -> Accuracy:
    """Return the paired figures of two models' classes on the same labelled samples.

    Args:
        labels: The right class of each sample; at least one.
        compiled: The compiled model's class of each sample.
        reference: The float model's, or None where it was not run.
    """
    right = compiled == labels
    if reference is None:
        return {
            "float": None,
            "compiled": float(right.mean()),
            "drop": None,
            "ci95": None,
            "agreement": None,
        }
    float_right = reference == labels
    lost = int(np.count_nonzero(float_right & ~right))
    won = int(np.count_nonzero(right & ~float_right))
    return {
        "float": float(float_right.mean()),
        "compiled": float(right.mean()),
        "drop": (lost - won) / len(labels),
        "ci95": list(paired_interval(lost, won, len(labels))),
        "agreement": float((compiled == reference).mean()),
    }


def paired_interval(lost: int, won: int, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of (lost - won) / samples, by Agresti and Min.

    With b' = lost + 1/2, c' = won + 1/2, n' = samples + 2:

        (b' - c') / n'  +-  z * sqrt(b' + c' - (b' - c')**2 / n') / n'      within [-1, 1]
    """
    total = samples + 2
    difference = lost - won
    spread = Z95 * math.sqrt(lost + won + 1 - difference**2 / total) / total
    centre = difference / total
    return max(centre - spread, -1.0), min(centre + spread, 1.0)
