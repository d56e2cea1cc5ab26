"""Speech detection: what is heard in a recording, each model going on from its own state."""

from __future__ import annotations

import numpy as np

from measures.runs import Array, Run, deviation
from silero_vad import STATE, TESTS, speech_samples
from tables import Row

THRESHOLD = 0.5


def speech(ours: Run, theirs: Run) -> list[Row]:
    """Return how often both models decide alike, and the deviation of the probabilities."""
    windows = [sample["input"] for sample in speech_samples(TESTS)]
    our, their = (heard(run, windows) for run in (ours, theirs))
    same = [(a > THRESHOLD) == (b > THRESHOLD) for a, b in zip(our, their, strict=True)]
    return [
        {
            "samples": len(windows),
            "speech, float": float(np.mean([each > THRESHOLD for each in their])),
            "same decision": float(np.mean(same)),
            **deviation(our, their),
        }
    ]


def heard(run: Run, windows: list[Array]) -> list[Array]:
    """Return the probability of speech in each window of one recording."""
    state: Array = np.zeros(STATE, np.float32)
    found = []
    for window in windows:
        outputs = run({"input": window, "state": state})
        found.append(outputs["output"])
        state = outputs["stateN"]
    return found
