"""Models without labels: how far every output lies from the float model's."""

from __future__ import annotations

from benchmark_model import Samples
from measures.runs import Run, deviation
from tables import Row


def outputs(ours: Run, theirs: Run, inputs: Samples) -> list[Row]:
    """Return the deviation of every output."""
    answers = [[run(sample) for sample in inputs] for run in (ours, theirs)]
    return [
        {
            "output": name,
            "samples": len(inputs),
            **deviation(*([answer[name] for answer in each] for each in answers)),
        }
        for name in answers[0][0]
    ]
