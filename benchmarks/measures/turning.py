"""Text orientation: how many rendered lines are seen to be upright or upside down."""

from __future__ import annotations

from measures.runs import Run, deviation, first_output, paired
from pp_ocr import turn_samples
from tables import Row

LINES = 100


def turning(ours: Run, theirs: Run) -> list[Row]:
    """Return the share of right answers; every second line is upside down."""
    inputs = turn_samples(LINES)
    answers = [[first_output(run, each) for each in inputs] for run in (ours, theirs)]
    classes = [[int(scores.argmax()) for scores in each] for each in answers]
    labels = [index % 2 for index in range(LINES)]
    return [{**paired(labels, *classes), **deviation(*answers)}]
