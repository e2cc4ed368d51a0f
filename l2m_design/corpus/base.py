"""Corpus: the contract of every source of documents, and how documents become splits."""

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

    tokens: [all tokens] unsigned integers. spans: [documents, 2] starts and ends. families: [documents] which ones
    are akin (modules of a package, pieces of a record, copies), where that is known; none where each stands for itself.
    repeats: [documents] True where an earlier one has the same content; none where no two have.
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
        """Some of the documents."""
        families, repeats = (None if each is None else each[rows] for each in (self.families, self.repeats))
        return Documents(self.tokens, self.spans[rows], families, repeats)

    def once(self) -> "Documents":
        """The documents without those that repeat an earlier one."""
        if self.repeats is None:
            return self
        kept = self.chosen(~self.repeats)
        alone = kept.families is None or len(np.unique(kept.families)) == len(kept)
        return replace(kept, families=None if alone else kept.families, repeats=None)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[documents] tokens in each document."""
        return self.spans[:, 1] - self.spans[:, 0]

    @property
    def size(self) -> int:
        """Tokens in all documents."""
        return int(self.lengths.sum())


class Corpus(ABC):
    """Documents of integer tokens below `vocabulary`, split by document into train, validation and test.

    period: windows must start at multiples of it (2 where tokens come in pairs; a document's length where they must
    start with the document), else the source would not look stationary. whole: documents mean something only as they
    are, cut in their middle (a tree, a copy).
    spaces: tokens between which words stand, where words can be told (text in bytes).
    shares: of documents (of families, where a source knows them) in train, validation and test. notes: what the user
    should be told about the source (skipped files, ...). seeks: copies that join a family: none in a source whose law
    is known.
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
        """Write every document, named, in a fixed order."""

    @property
    def notes(self) -> list[str]:
        """Sentences about what was skipped or assumed."""
        (equal, near), held = self.copied.values(), len(self._sources)
        few = "few documents apart from copies" if equal + near else "few documents"
        said = [f"{few}: each is cut 8:1:1 into the splits"] if self._cut_by_position else []
        if equal + near:
            said.append(
                f"{equal + near:,} of {held:,} documents are copies or near copies of others before them "
                f"({equal:,} and {near:,}); copies share a split and count once"
            )
        if self._dropped and self.tells_of_empty:
            held = len(self.all_documents)
            said.append(f"{self._dropped} of {self._dropped + held} documents hold no text and are left out")
        return said

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes of text that a token holds on average; none where tokens are no text."""
        return None

    def judged(self, length: int) -> NDArray[np.bool_]:
        """[length] places of a window at which the past can help, in some windows at least: all."""
        return np.ones(length, dtype=bool)

    def judged_in(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[b t] places of windows [b t] at which the past helps, hence where losses are compared with Bayes.

        As `judged`, in every window the same ones; a source whose answers stand elsewhere in each says so here.
        """
        return np.broadcast_to(self.judged(tokens.shape[1]), tokens.shape)

    def family(self, name: str) -> str:
        """What must stay in one split with this document: the document itself, unless a source knows its likes."""
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
        """equal: documents with the content of an earlier one. near: with nearly that of one the source keeps apart."""
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
        """Every document, whatever its split."""
        names, akin = np.unique(self._sources[self._families], return_inverse=True)
        repeats = self.copies.is_equal
        return replace(
            self._stored[0],
            families=akin if len(names) < len(akin) else None,
            repeats=repeats if repeats.any() else None,
        )

    def documents(self, split: str) -> Documents:
        """The documents of "train", "validation" or "test"."""
        index = SPLITS.index(split)
        stored = self.all_documents
        if not self._cut_by_position:
            return stored.chosen(self._splits == index)
        cuts = np.cumsum([0.0, *self.shares])[[index, index + 1]]
        inside = (stored.lengths[:, None] * cuts / self.period).astype(np.int64) * self.period
        spans = stored.spans[:, :1] + inside
        return replace(stored, spans=spans).chosen(spans[:, 1] > spans[:, 0])


def split_of(name: str, shares: tuple[float, float, float] = SHARES) -> int:
    """The split's index of a document, from a fixed hash of its name; shares: of train, validation and test."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return int(np.searchsorted(np.cumsum(shares)[:-1], place, side="right"))


def unigram_nats(documents: Documents, vocabulary: int) -> Floats:
    """[v_] -ln of each token's share among the first COUNTED_TOKENS tokens, one added to each count."""
    counts = np.ones(vocabulary)
    left = COUNTED_TOKENS
    for document in documents:
        counts += np.bincount(document[:left], minlength=vocabulary)
        left -= len(document)
        if left <= 0:
            break
    nats: Floats = -np.log(counts / counts.sum())
    return nats
