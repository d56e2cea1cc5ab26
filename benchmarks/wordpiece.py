"""BERT's uncased tokenizer: text to the numbers of word pieces.

J. Devlin et al., "BERT: pre-training of deep bidirectional transformers", 2019: lower case
without accents, split at spaces and punctuation, each word into the longest known pieces.
Chinese characters and control characters, which no text here has, are not treated apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

LONGEST = 100
"""Characters of a word; a longer one is unknown."""
BEGIN, END, UNKNOWN, PAD = "[CLS]", "[SEP]", "[UNK]", "[PAD]"


class WordPiece:
    """A tokenizer with a vocabulary."""

    def __init__(self, vocabulary: str) -> None:
        """Take the vocabulary: a piece a line; those inside a word begin with ##."""
        pieces = vocabulary.splitlines()
        self._numbers: Mapping[str, int] = {piece: n for n, piece in enumerate(pieces)}

    def __call__(self, text: str, length: int) -> tuple[list[int], int]:
        """Return that many numbers, filled up or cut to length, and how many are text."""
        pieces = [piece for word in _words(text) for piece in self._pieces(word)]
        found = [BEGIN, *pieces[: length - 2], END]
        padded = found + [PAD] * (length - len(found))
        return [self._numbers[piece] for piece in padded], len(found)

    def _pieces(self, word: str) -> list[str]:
        """Return the longest known piece again and again, or unknown."""
        pieces: list[str] = []
        rest = word
        while rest:
            prefix = "##" if pieces else ""
            ends = range(len(rest), 0, -1)
            known = (end for end in ends if prefix + rest[:end] in self._numbers)
            end = next(known, 0)
            if not end or len(word) > LONGEST:
                return [UNKNOWN]
            pieces.append(prefix + rest[:end])
            rest = rest[end:]
        return pieces


def _words(text: str) -> Iterator[str]:
    """Give words and punctuation marks, in lower case and without accents."""
    word = ""
    for char in unicodedata.normalize("NFD", text.lower()):
        mark = _is_mark(char)
        if mark or char.isspace():
            if word:
                yield word
            word = ""
        if mark:
            yield char
        elif not char.isspace() and unicodedata.category(char) != "Mn":
            word += char
    if word:
        yield word


def _is_mark(char: str) -> bool:
    """Whether it is punctuation: all of ASCII that is neither letter, digit nor space too."""
    ascii_mark = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return ascii_mark or unicodedata.category(char).startswith("P")
