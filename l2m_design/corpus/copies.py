"""Copies: documents that say the same as others, by a hash of their content, or nearly the same, by MinHash.

Text is compared in lower case (ASCII letters) and without white space, other tokens as they are. Near copies share
SIMILAR of their shingles (Jaccard): SHINGLE words, or as many other tokens as hold 64 bits, as near copies of web text
are commonly sought (FineWeb, arXiv 2406.17557: 5 words, about 0.75).
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.tokens import cache_folder
from l2m_design.errors import BadInput

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

SHINGLE = 5
SIMILAR = 0.7  # one word in thirty changed; a shared licence or template joins only what it makes up four fifths of
SHORT = 64  # words, and different shingles: fewer are too few to call two documents nearly the same
_OWNER = 40  # bits of a shingle that are kept beside the number of its document
SIGNATURE, BANDS, ROWS = 128, 25, 5  # a pair of Jaccard 0.7 shares a band in 99 of 100 cases, one of 0.2 in 1
PIECE = 1 << 20  # tokens: what is in memory at once
COMPARED = 1 << 14  # signatures

_TEXT = np.arange(256, dtype=np.uint8)
_LOWER = np.array([ord(chr(byte).lower()) if byte < 128 else byte for byte in range(256)], dtype=np.uint8)
_IS_SPACE = np.isin(_TEXT, list(b" \t\n\r\f\v"))
_INSIDE = np.array([byte >= 128 or chr(byte).isalnum() for byte in range(256)])
_ALONE = _TEXT >= 0xE0  # scripts without spaces between words: each character begins a word
_P = 0x9E3779B97F4A7C15
_POWERS, _INVERSE = (
    np.cumprod(np.concatenate([[np.uint64(1)], np.full(2 * PIECE, np.uint64(base))]))
    for base in (_P, pow(_P, -1, 1 << 64))
)


@dataclass(frozen=True)
class Copies:
    """equal, like: [documents] the first document with a document's content, or with nearly the same; else itself."""

    equal: Ints
    like: Ints

    @property
    def is_equal(self) -> NDArray[np.bool_]:
        """[documents] True where an earlier document has the same content."""
        return self.equal != np.arange(len(self.equal))

    @property
    def is_copy(self) -> NDArray[np.bool_]:
        """[documents] True where an earlier document has the same content, or nearly."""
        return self.like != np.arange(len(self.like))

    def chosen(self, rows: Ints) -> "Copies":
        """Of some of the documents."""
        return Copies(firsts(self.equal[rows]), firsts(self.like[rows]))


def no_copies(documents: int) -> Copies:
    """Every document stands for itself."""
    return Copies(np.arange(documents), np.arange(documents))


def open_copies(fingerprint: str, find: Callable[[], Copies]) -> Copies:
    """The copies in a corpus, from the cache of its tokens or found now. Raises BadInput where they cannot be kept."""
    folder = cache_folder() / "tokens" / fingerprint
    path = folder / "copies-1.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            return Copies(kept["equal"], kept["like"])
    found = find()
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".copies.", suffix=".npz")
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, equal=found.equal, like=found.like)
        os.replace(temporary, path)
    except OSError as error:
        raise BadInput(f"token cache {folder}: {error.strerror or error}; set L2M_CACHE to a writable folder") from None
    return found


def find_copies(
    tokens: NDArray[Any], ends: Ints, vocabulary: int, text: bool, near: bool, part: NDArray[np.bool_]
) -> Copies:
    """Copies among documents that end at `ends` [documents] of tokens [all].

    text: tokens are the bytes of text. near: look for near copies too. part: [documents] True where a document is one
    of a larger family; of those, short ones (an empty module, a few bases) join nothing.
    """
    width = SHINGLE if text else max(SHINGLE, int(np.ceil(64 / np.log2(max(2, vocabulary)))))
    digests, signed = _Digests(), [(np.empty(0, np.int64), np.empty((0, SIGNATURE), np.uint32))]
    sizes = np.zeros(len(ends), np.int64)
    for document, edges in _batches(ends):
        read = np.asarray(tokens[edges[0] : edges[-1]])
        edges = edges - edges[0]
        digests.add(document, *(_plain(read, edges) if text else (read, edges)))
        words, counts = _words(read, edges) if text else (_mixed(read), np.diff(edges))
        np.add.at(sizes, document, counts)
        if near and (counts >= SHORT).any():
            rich, signatures = _signatures(words, counts, width)
            signed.append((document[rich], signatures))
    equal = firsts(digests.all())
    equal = np.where(part & (sizes < SHORT), np.arange(len(ends)), equal)
    document = np.concatenate([where[equal[where] == where] for where, _ in signed])
    signatures = np.concatenate([rows[equal[where] == where] for where, rows in signed])
    del signed
    begins = np.flatnonzero(np.diff(document, prepend=-1))
    if len(begins) < len(document):  # pieces of long documents: the least of each slot is that of the whole
        document, signatures = document[begins], np.minimum.reduceat(signatures, begins, axis=0)
    pairs = [(document[rows], document[leaders]) for rows, leaders in _alike(signatures)]
    return Copies(equal, joined(equal, *pairs))


def joined(first: Ints, *pairs: tuple[Ints, Ints]) -> Ints:
    """[documents] the first document of each one's component, where it is joined to `first` and both of each pair."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    other = np.flatnonzero(first != np.arange(len(first)))
    left, right = (np.concatenate(ends) for ends in zip((other, first[other]), *pairs, strict=True))
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(first), len(first)))
    return firsts(connected_components(graph, directed=False)[1])


def firsts(keys: NDArray[Any]) -> Ints:
    """[n] where each key stands first."""
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return first[which]


def _batches(ends: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Documents in pieces of at most PIECE tokens: (document [pieces], edges [pieces + 1]), some PIECE tokens each."""
    begins = np.concatenate([[0], ends[:-1]])
    pieces = -(-(ends - begins) // PIECE)
    document = np.repeat(np.arange(len(ends)), pieces)
    number = np.arange(len(document)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    edges = np.append(begins[document] + number * PIECE, ends[-1:])
    cuts = np.flatnonzero(np.diff(edges[:-1] // PIECE)) + 1
    for first, last in zip([0, *cuts.tolist()], [*cuts.tolist(), len(document)], strict=True):
        yield document[first:last], edges[first : last + 1]


class _Digests:
    """A hash of the content of each document, which comes in pieces."""

    def __init__(self) -> None:
        self._done: list[bytes] = []
        self._open, self._hash = 0, blake2b(digest_size=8)

    def add(self, document: Ints, content: NDArray[Any], edges: Ints) -> None:
        """content: of the pieces, between edges [pieces + 1]."""
        view, item = np.ascontiguousarray(content).view(np.uint8).data, content.itemsize
        positions = (edges * item).tolist()
        for number, begin, end in zip(document.tolist(), positions[:-1], positions[1:], strict=True):
            if number != self._open:
                self._done.append(self._hash.digest())
                self._open, self._hash = number, blake2b(digest_size=8)
            self._hash.update(view[begin:end])

    def all(self) -> Hashes:
        """[documents] hashes."""
        return np.frombuffer(b"".join([*self._done, self._hash.digest()]), dtype=np.uint64)


def _plain(text: NDArray[np.uint8], edges: Ints) -> tuple[NDArray[np.uint8], Ints]:
    """Bytes in lower case without white space, and where the edges then lie."""
    kept = ~_IS_SPACE[text]
    return _LOWER[text[kept]], np.concatenate([[0], np.cumsum(kept)])[edges]


def _words(text: NDArray[np.uint8], edges: Ints) -> tuple[Hashes, Ints]:
    """A hash of each word, the sum of its letters' hashes times powers of _P, and how many words are in each piece."""
    inside = _INSIDE[text]
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    begins |= _ALONE[text]
    begins[edges[:-1]] = inside[edges[:-1]]
    positions = np.flatnonzero(begins)
    terms = _LETTERS[text]
    terms *= _POWERS[: len(text)]
    sums = np.concatenate([[np.uint64(0)], np.cumsum(terms, out=terms)])
    words = np.diff(sums[np.append(positions, len(text))]) * _INVERSE[positions]
    return _mixed(words), np.diff(np.searchsorted(positions, edges))


def _mixed(values: NDArray[Any]) -> Hashes:
    """Integers as hashes of 64 bits: SplitMix64's finaliser."""
    mixed = values.astype(np.uint64) + np.uint64(_P)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


_LETTERS = np.where(_INSIDE, _mixed(_LOWER), np.uint64(0))


def _signatures(words: Hashes, counts: Ints, width: int) -> tuple[Ints, NDArray[np.uint32]]:
    """Which pieces hold SHORT different shingles or more, and MinHash signatures [those, SIGNATURE] of them."""
    from rensa import RMinHash

    last = max(0, len(words) - width + 1)
    shingles = np.zeros(last, np.uint64)
    for begin in range(width):
        shingles *= np.uint64(_P)
        shingles += words[begin : begin + last]
    owner = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    inside = (owner[:last] == owner[width - 1 :]) & np.repeat(counts >= SHORT, counts)[:last]
    owned = np.uint64(64 - _OWNER)
    found = np.sort((owner[:last][inside] << np.uint64(_OWNER)) | (_mixed(shingles[inside]) >> owned))
    different = found[np.append(True, found[1:] != found[:-1])]
    owner = (different >> np.uint64(_OWNER)).astype(np.int64)
    held = np.bincount(owner, minlength=len(counts))
    rich = np.flatnonzero(held >= SHORT)
    kept = different[(held >= SHORT)[owner]] << owned
    edges = np.concatenate([[0], np.cumsum(held[rich])])
    digests = RMinHash.digest_matrix_from_flat_token_hashes(_mixed(kept), edges, SIGNATURE, 1)
    return rich, np.array(digests.to_rows(), dtype=np.uint32).reshape(-1, SIGNATURE)


def _alike(signatures: NDArray[np.uint32]) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of rows of which SIMILAR agree: in each band, each row with the first one that has the same there."""
    for band in range(BANDS):
        keys = np.zeros(len(signatures), np.uint64)
        for column in signatures.T[band * ROWS : (band + 1) * ROWS]:
            keys = _mixed(keys ^ column)
        leaders = firsts(keys)
        rows = np.flatnonzero(leaders != np.arange(len(leaders)))
        for some in np.split(rows, range(COMPARED, len(rows), COMPARED)):
            agree = (signatures[some] == signatures[leaders[some]]).mean(axis=1) >= SIMILAR
            yield some[agree], leaders[some[agree]]
