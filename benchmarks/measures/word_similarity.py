"""Sentence vectors: how well their likeness orders WordSim-353's pairs, by Spearman."""

from __future__ import annotations

import numpy as np

from measures.runs import Array, Run, deviation, first_output
from minilm import text_input
from tables import Row
from word_pairs import pairs, words

LENGTH = 16


def word_similarity(ours: Run, theirs: Run) -> list[Row]:
    """Return the rank correlation of cosines with people's ratings."""
    vectors = [{word: vector(run, word) for word in words()} for run in (ours, theirs)]
    int8, float32 = (correlation(each) for each in vectors)
    lists = [[each[word] for word in words()] for each in vectors]
    return [
        {
            "samples": len(pairs()),
            "float": float32,
            "int8": int8,
            "drop": float32 - int8,
            **deviation(*lists),
        }
    ]


def vector(run: Run, word: str) -> Array:
    """Return the mean of the last layer over the pieces of a word, of length 1."""
    sample = text_input(word, LENGTH)
    hidden = first_output(run, sample)[0]
    mean = hidden[sample["attention_mask"][0] > 0].mean(axis=0, dtype=np.float64)
    return np.asarray(mean / np.linalg.norm(mean))


def correlation(vectors: dict[str, Array]) -> float:
    """Return Spearman's rank correlation with the ratings."""
    likeness = [float(vectors[pair.first] @ vectors[pair.second]) for pair in pairs()]
    ratings = [pair.rating for pair in pairs()]
    return float(np.corrcoef(ranks(likeness), ranks(ratings))[0, 1])


def ranks(values: list[float]) -> Array:
    """Return the rank of each value; equal ones share the mean of theirs."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    after = np.cumsum(counts)
    return np.asarray(after - (counts - 1) / 2)[index]
