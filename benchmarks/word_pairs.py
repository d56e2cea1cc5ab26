"""WordSim-353: pairs of words, and how alike people find them.

L. Finkelstein et al., "Placing search in context: the concept revisited", ACM Transactions on
Information Systems 20 (2002) 116-131.
"""

from __future__ import annotations

import dataclasses
import functools

from packages import Package

GENSIM = Package(
    "gensim", "4.4.0", "91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8"
)
FILE = "gensim/test/test_data/wordsim353.tsv"


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two words and the mean of people's ratings, 0 to 10."""

    first: str
    second: str
    rating: float


@functools.cache
def pairs() -> list[Pair]:
    """Return the 353 pairs."""
    text = GENSIM.read(FILE).decode()
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return [Pair(first, second, float(rating)) for first, second, rating in rows]


def words() -> list[str]:
    """Return their 437 words, each once, in order of the alphabet."""
    return sorted({word for pair in pairs() for word in (pair.first, pair.second)})
