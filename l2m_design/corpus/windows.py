"""Windows: where to read in documents, drawn at random offsets so that the source looks stationary."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.base import Documents
from l2m_design.errors import BadInput


@dataclass(frozen=True)
class Windows:
    """Windows of `length` tokens. document, start: [windows] indices into the documents and offsets inside them."""

    documents: Documents
    length: int
    document: NDArray[np.int64]
    start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def cluster(self) -> NDArray[np.int64]:
        """[windows] what counts as one: the document's family where a source knows it, else the document."""
        families = self.documents.families
        return self.document if families is None else families[self.document]

    def tokens(self, rows: slice | NDArray[np.int64] = slice(None)) -> NDArray[np.int64]:
        """[b length] tokens of the chosen windows."""
        begins = self.documents.spans[self.document[rows], 0] + self.start[rows]
        index = begins[:, None] + np.arange(self.length)
        return np.asarray(self.documents.tokens[index], dtype=np.int64)


def _long_enough(documents: Documents, length: int, name: str) -> NDArray[Any]:
    lengths = documents.lengths
    fitting = np.nonzero(lengths >= length)[0]
    if not fitting.size:
        longest = int(lengths.max(initial=0))
        raise BadInput(f"{name}: no document is as long as the required {length} tokens; the longest has {longest}")
    return fitting


def uniform_windows(
    documents: Documents, length: int, count: int, rng: np.random.Generator, name: str, period: int = 1
) -> Windows:
    """`count` windows, every offset of every document equally likely. Raises BadInput when none fits."""
    fitting = _long_enough(documents, length, name)
    offsets = (documents.lengths[fitting] - length) // period + 1
    ends = np.cumsum(offsets)
    place = rng.integers(0, ends[-1], size=count)
    which = np.searchsorted(ends, place, side="right")
    inside = place - (ends[which] - offsets[which])
    return Windows(documents, length, fitting[which], inside * period)


def spread_windows(
    documents: Documents, length: int, count: int, rng: np.random.Generator, name: str, period: int = 1
) -> Windows:
    """`count` windows over as many families of documents as there are, one each before any gives a second.

    No document gives more windows than lie in it side by side, unless all of them together are too few; a document that
    gives several is divided between them, so that they overlap as little as they can. Raises BadInput when no document
    is long enough.
    """
    fitting = _long_enough(documents, length, name)
    room = np.minimum(documents.lengths[fitting] // length, count)
    document = np.repeat(fitting, room)[rng.permutation(int(room.sum()))]
    families = document if documents.families is None else documents.families[document]
    turn = _rank(families)
    order = np.argsort(turn, kind="stable")
    which = np.resize(document[order], count)
    number = _rank(which)
    shares = np.bincount(which, minlength=len(documents))[which]
    offsets = (documents.lengths[which] - length) // period + 1
    start = ((number + rng.random(count)) / shares * offsets).astype(np.int64) * period
    return Windows(documents, length, which, start)


def _rank(names: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n] how many equal names stand before each."""
    order = np.argsort(names, kind="stable")
    begins = np.searchsorted(names[order], names[order])
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names)) - begins
    return rank
