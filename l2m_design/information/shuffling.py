"""Shuffled halves: the words of X and of Y, each in random order, which keep both vocabularies and lose all order.

Shuffling each half by itself cannot add information (data processing), so what is left is the part of vocabulary.
Shuffling whole documents would: it spreads the words of every passage over the document, and neighbours share more.
"""

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.base import Documents
from l2m_design.information.split_points import SplitPoints

LONGEST_WORD = 64  # tokens on average: a text of longer ones has no words


def shuffled(tokens: NDArray[np.int64], spaces: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64]:
    """Tokens [t] with the words in random order; a word ends with a run of spaces. Without words: every token."""
    space = np.isin(tokens, spaces)
    if LONGEST_WORD * space.sum() < len(tokens):
        return rng.permutation(tokens)
    begins = np.flatnonzero(np.concatenate([[True], space[:-1] & ~space[1:]]))
    lengths = np.diff(np.append(begins, len(tokens)))
    order = rng.permutation(len(begins))
    lengths = lengths[order]
    ends = np.cumsum(lengths)
    return tokens[np.repeat(begins[order] - (ends - lengths), lengths) + np.arange(len(tokens))]


def shuffled_points(points: SplitPoints, spaces: tuple[int, ...], rng: np.random.Generator) -> SplitPoints:
    """The same points in copies of their own, each half shuffled."""
    tokens = points.documents.tokens
    halves = [
        shuffled(np.asarray(tokens[at : at + n], dtype=np.int64), spaces, rng)
        for begin, n in zip(points.begin.tolist(), points.n.tolist(), strict=True)
        for at in (begin, begin + n)
    ]
    copied = Documents(np.concatenate(halves), points.documents.spans, points.documents.families)
    begin = 2 * (np.cumsum(points.n) - points.n)
    return SplitPoints(copied, points.lengths, points.document, points.window, begin, points.n)
