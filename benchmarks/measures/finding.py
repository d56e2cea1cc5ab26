"""Text detection: how well the maps of where there is text agree."""

from __future__ import annotations

import numpy as np

from measures.runs import Run, deviation, first_output
from pp_ocr import page_samples
from tables import Row

PAGES = 20
THRESHOLD = 0.3
"""Of the package: above it a pixel is text."""


def finding(ours: Run, theirs: Run) -> list[Row]:
    """Return the intersection over union of the pixels that are text, and the deviation."""
    inputs = page_samples(PAGES)
    answers = [[first_output(run, each) for each in inputs] for run in (ours, theirs)]
    our, their = (np.concatenate(each) > THRESHOLD for each in answers)
    union = np.count_nonzero(our | their)
    return [
        {
            "samples": PAGES,
            "text, float": float(their.mean()),
            "text, int8": float(our.mean()),
            "IoU": float(np.count_nonzero(our & their) / union) if union else 1.0,
            **deviation(*answers),
        }
    ]
