"""Shuffled documents: the words of a document in random order, which keep its vocabulary and lose what order says."""

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.base import Documents
from l2m_design.information.places import Places

BLOCK = 1 << 18  # tokens around a window that are shuffled together
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


def shuffled_places(places: Places, spaces: tuple[int, ...], rng: np.random.Generator) -> Places:
    """The same places in copies of their documents, of BLOCK tokens around each window at most, each shuffled."""
    documents, begin = places.documents, places.begin.copy()
    longest, blocks, at = 2 * int(places.lengths[-1]), [], 0
    for window in np.unique(places.window):
        rows = places.window == window
        low, high = documents.spans[places.document[rows][0]]
        low = max(low, int(begin[rows].min()) - BLOCK // 2)
        high = min(high, int(begin[rows].min()) + longest + BLOCK // 2)
        blocks.append(shuffled(np.asarray(documents.tokens[low:high], dtype=np.int64), spaces, rng))
        begin[rows] += at - low
        at += high - low
    copied = Documents(np.concatenate(blocks), documents.spans, documents.families)
    return Places(copied, places.lengths, places.document, places.window, begin, places.n)
