"""Text recognition: how many rendered lines are read without an error."""

from __future__ import annotations

import numpy as np

from measures.runs import Array, Run, deviation, first_output, paired
from pp_ocr import READ_SHAPE, characters, line_input, read_lines
from tables import Row

LINES = 100


def reading(ours: Run, theirs: Run) -> list[Row]:
    """Return the share of lines that are read exactly; spaces at the ends do not count."""
    lines = read_lines(LINES)
    inputs = [line_input(line.picture, READ_SHAPE) for line in lines]
    answers = [[first_output(run, each) for each in inputs] for run in (ours, theirs)]
    texts = [[decode(scores) for scores in each] for each in answers]
    labels = [line.text for line in lines]
    return [{**paired(labels, *texts), **deviation(*answers)}]


def decode(scores: Array) -> str:
    """Return the text of scores [1,T,classes]: the best class of each step, repeats once."""
    best = scores[0].argmax(axis=1)
    changes = np.concatenate([[True], best[1:] != best[:-1]])
    table = characters()
    return "".join(table[index] for index in best[changes]).strip()
