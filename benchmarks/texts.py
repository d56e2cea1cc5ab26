"""News in English, of M. Lee's collection of documents, and the words in it."""

from __future__ import annotations

import numpy as np

from word_pairs import GENSIM

FOLDER = "gensim/test/test_data"
SEED = 0
TEXTS, WORDS, TESTS = 32, 32, 50


def calibration_texts() -> list[str]:
    """Return 32 documents and 32 words of them."""
    documents = _documents("lee_background.cor")[:TEXTS]
    words = sorted(set(" ".join(documents).split()))
    random = np.random.default_rng(SEED)
    return [*documents, *(str(word) for word in random.choice(words, WORDS, replace=False))]


def test_texts() -> list[str]:
    """Return 50 documents that calibration does not see."""
    return _documents("lee.cor")[:TESTS]


def _documents(name: str) -> list[str]:
    """Return the documents of a file, one a line."""
    return GENSIM.read(f"{FOLDER}/{name}").decode("latin-1").splitlines()
