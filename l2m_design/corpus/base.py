"""Corpus: the interface of every source of documents, and how documents are split."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.copies import Copies, find_copies, firsts, joined, no_copies, open_copies
from l2m_design.corpus.tokens import TokenWriter, open_tokens
from l2m_design.errors import BadInput
from l2m_design.estimates import Floats

SPLITS = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)
COUNTED_TOKENS = 1 << 22


@dataclass(frozen=True)
class Documents:
    """Documents of tokens: slices [start, end) of one array, usually memory-mapped.

    tokens: [all tokens] unsigned integers. spans: [documents, 2] starts and ends. families: [documents] a number for
    each group of related documents (modules of a package, parts of a record, copies); None if all are unrelated.
    repeats: [documents] True if an earlier document has the same content; None if there are no copies.
    """

    tokens: NDArray[Any]
    spans: NDArray[np.int64]
    families: NDArray[np.int64] | None = None
    repeats: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> NDArray[Any]:
        start, end = self.spans[index]
        return self.tokens[start:end]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    def chosen(self, rows: NDArray[Any]) -> "Documents":
        """Return some of the documents."""
        families, repeats = (None if each is None else each[rows] for each in (self.families, self.repeats))
        return Documents(self.tokens, self.spans[rows], families, repeats)

    def once(self) -> "Documents":
        """Return the documents without copies of earlier ones."""
        if self.repeats is None:
            return self
        kept = self.chosen(~self.repeats)
        alone = kept.families is None or len(np.unique(kept.families)) == len(kept)
        return replace(kept, families=None if alone else kept.families, repeats=None)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[documents] tokens of each document."""
        return self.spans[:, 1] - self.spans[:, 0]

    @property
    def size(self) -> int:
        """Number of tokens in all documents."""
        return int(self.lengths.sum())


class Corpus(ABC):
    """Documents of integer tokens below `vocabulary`, split by document into train, validation and test.

    name: name of the corpus. vocabulary: number of tokens. period: windows must start at multiples of it (2 if tokens
    come in pairs, the document length if windows must start with the document). whole: documents cannot be divided into
    windows, only halved (a tree, a copy). spaces: tokens that separate words, if known (text in bytes). shares: shares
    of documents (or of groups of related documents) in train, validation and test. seeks: which copies are grouped:
    none for sources whose law is known.
    """

    name: str
    vocabulary: int
    period: int = 1
    whole: bool = False
    spaces: tuple[int, ...] = ()
    shares: tuple[float, float, float] = SHARES
    seeks: Literal["none", "equal", "near"] = "none"
    tells_of_empty: bool = True  # in a library of modules some are empty
    _dropped: int = 0  # documents without a token, known once they were read

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any token of any document."""

    @abstractmethod
    def write(self, writer: TokenWriter) -> None:
        """Write every document with its name, in a fixed order."""

    @property
    def notes(self) -> list[str]:
        """Sentences about skipped files and assumptions."""
        (equal, near), held = self.copied.values(), len(self._sources)
        few = "few documents that are not copies" if equal + near else "few documents"
        notes = [f"{few}: each is divided 8:1:1 into training, validation and test"] if self._cut_by_position else []
        if equal + near:
            notes.append(
                f"{equal + near:,} of {held:,} documents are copies or near copies of earlier ones "
                f"({equal:,} and {near:,}); copies are in the same split and count as one document"
            )
        if self._dropped and self.tells_of_empty:
            held = len(self.all_documents)
            notes.append(f"{self._dropped} of {self._dropped + held} documents contain no text and are left out")
        return notes

    @property
    def bytes_per_token(self) -> float | None:
        """Average bytes of text per token; None if tokens are not text."""
        return None

    def judged(self, length: int) -> NDArray[np.bool_]:
        """Return [length] booleans: positions at which the past can help in some windows; by default all."""
        return np.ones(length, dtype=bool)

    def judged_in(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return [b t] booleans: positions of windows [b t] at which the past helps, where losses are compared with the
        Bayes loss.

        By default the positions of `judged`, the same in every window; sources whose answers are elsewhere in each
        window override it.
        """
        return np.broadcast_to(self.judged(tokens.shape[1]), tokens.shape)

    def family(self, name: str) -> str:
        """Return the group of a document, which stays in one split; by default the document itself."""
        return name

    @cached_property
    def _stored(self) -> tuple[Documents, list[str]]:
        """Documents that know no families, and their names."""
        tokens, ends, names, self._dropped = open_tokens(self.fingerprint, self.vocabulary, self.write)
        if not len(tokens):
            raise BadInput(f"{self.name}: the corpus is empty")
        return Documents(tokens, np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)), names

    @cached_property
    def _sources(self) -> NDArray[np.int64]:
        """[documents] a number for what the source keeps together with each, in the order of their names."""
        return np.unique([self.family(name) for name in self._stored[1]], return_inverse=True)[1]

    @cached_property
    def copies(self) -> Copies:
        """Which documents are copies of others."""
        if self.seeks == "none" or len(self._stored[1]) < 2:
            return no_copies(len(self._stored[1]))
        return self._find_copies()

    def _find_copies(self) -> Copies:
        stored, source = self._stored[0], self._sources
        part = np.bincount(source)[source] > 1
        text, near = bool(self.spaces), self.seeks == "near"
        return open_copies(
            self.fingerprint,
            lambda: find_copies(self._compared, stored.spans[:, 1], self.vocabulary, text, near, part),
        )

    @property
    def _compared(self) -> NDArray[Any]:
        """[all tokens] integers by which documents are equal or not: the tokens."""
        return self._stored[0].tokens

    @property
    def copied(self) -> dict[str, int]:
        """Number of copies. equal: documents with the content of an earlier one. near: near copies of unrelated
        documents.
        """
        equal = self.copies.is_equal
        apart = self._sources != self._sources[self.copies.like]
        return {"equal": int(equal.sum()), "near": int((apart & ~equal).sum())}

    @cached_property
    def _families(self) -> NDArray[np.int64]:
        """[documents] the first document of each one's family: of what the source keeps together, and of copies."""
        first = firsts(self._sources)
        copies = np.flatnonzero(self.copies.is_copy)
        return joined(first, (copies, self.copies.like[copies])) if len(copies) else first

    @cached_property
    def _splits(self) -> NDArray[np.int64]:
        """[documents] index of the split: that of a family's first document.

        A family that copies made is for training where it holds more than the smallest split should.
        """
        family, source = self._families, self._sources
        splits = np.zeros(len(family), dtype=np.int64)
        for first in np.unique(family).tolist():
            splits[first] = split_of(self.family(self._stored[1][first]), self.shares)
        sizes = np.bincount(family, self._stored[0].lengths, len(family))
        made = family[source != source[family]]
        splits[made[sizes[made] > min(self.shares) * sizes.sum()]] = SPLITS.index("train")
        return splits[family]

    @property
    def _cut_by_position(self) -> bool:
        """True when hashing whole documents would leave a split with next to nothing."""
        held = np.bincount(self._splits[~self.copies.is_copy], minlength=len(SPLITS))
        return int(held.min()) < 2

    @cached_property
    def all_documents(self) -> Documents:
        """All documents of all splits."""
        names, akin = np.unique(self._sources[self._families], return_inverse=True)
        repeats = self.copies.is_equal
        return replace(
            self._stored[0],
            families=akin if len(names) < len(akin) else None,
            repeats=repeats if repeats.any() else None,
        )

    def documents(self, split: str) -> Documents:
        """Return the documents of "train", "validation" or "test"."""
        index = SPLITS.index(split)
        stored = self.all_documents
        if not self._cut_by_position:
            return stored.chosen(self._splits == index)
        cuts = np.cumsum([0.0, *self.shares])[[index, index + 1]]
        inside = (stored.lengths[:, None] * cuts / self.period).astype(np.int64) * self.period
        spans = stored.spans[:, :1] + inside
        return replace(stored, spans=spans).chosen(spans[:, 1] > spans[:, 0])


def split_of(name: str, shares: tuple[float, float, float] = SHARES) -> int:
    """Return the index of the split of a document, from a fixed hash of its name. shares: of train, validation and
    test.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return int(np.searchsorted(np.cumsum(shares)[:-1], place, side="right"))


def unigram_nats(documents: Documents, vocabulary: int) -> Floats:
    """Return [v_] -ln of the share of each token in the first COUNTED_TOKENS tokens; counts are increased by 1."""
    counts = np.ones(vocabulary)
    left = COUNTED_TOKENS
    for document in documents:
        counts += np.bincount(document[:left], minlength=vocabulary)
        left -= len(document)
        if left <= 0:
            break
    nats: Floats = -np.log(counts / counts.sum())
    return nats
