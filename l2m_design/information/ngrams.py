"""n-grams: how often each context was seen before a position, in other documents (Counts) and in its own window.

A context of order k is the k tokens before a position. Contexts are 64-bit hashes, so any alphabet will do: among a
million two are equal by chance with a probability below 1e-6, in a batch of windows (46 bits) below 1e-3. Rows of
tokens are counted apart, all positions at once, by sorting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int32]

STEP = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
INVERSE = pow(STEP, -1, 1 << 64)


class Seen(NamedTuple):
    """Of a position's context, each [b t]: how often it was seen (times), how often the position's token followed it
    (hits), how many different tokens did (kinds).
    """

    times: Ints
    hits: Ints
    kinds: Ints


def mixed(values: Hashes) -> Hashes:
    """A bijection of 64-bit numbers that spreads every bit over all (Steele, Lea & Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class Grams:
    """Hashes of the tokens before each position of rows of tokens [b t]."""

    def __init__(self, tokens: NDArray[np.int64]) -> None:
        length = tokens.shape[1]
        falling = _powers(INVERSE, length)[1:]
        self.sums = np.zeros((len(tokens), length + 1), np.uint64)
        np.cumsum(mixed(tokens.astype(np.uint64) + np.uint64(1)) * falling, axis=1, out=self.sums[:, 1:])
        self.rising = _powers(STEP, length)

    def before(self, order: int, start: int = 0) -> Hashes:
        """[b t + 1 - start] hashes of the `order` tokens before each position from `start` >= order on, the end too."""
        assert start >= order
        last = self.sums.shape[1] - order
        sums = self.sums[:, start:] - self.sums[:, start - order : last]
        return mixed(sums * self.rising[start:] + np.uint64(mixed_number(order)))


def mixed_number(value: int) -> int:
    """A number's own 64 bits, to tell apart what else is equal."""
    return (value + 1) * STEP % (1 << 64)


def _powers(base: int, length: int) -> Hashes:
    powers = np.full(length + 1, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


@dataclass(frozen=True)
class _Table:
    """Sorted contexts with their times and kinds; sorted contexts with followers and how often each was seen."""

    contexts: Hashes
    times: Ints
    kinds: Ints
    pairs: Hashes
    hits: Ints


@dataclass(frozen=True)
class Counts:
    """Contexts of some orders in documents, counted."""

    orders: tuple[int, ...]
    tables: tuple[_Table, ...]
    tokens: int

    @classmethod
    def of(cls, documents: Sequence[NDArray[np.int64]], orders: tuple[int, ...]) -> "Counts":
        """Count documents [t]; no context crosses from one into the next."""
        grams = Grams(np.concatenate(documents)[None])
        lengths = np.array([len(document) for document in documents])
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        tables = tuple(_counted(grams, order, inside) for order in orders)
        return cls(orders, tables, int(lengths.sum()))

    def seen(self, grams: Grams, start: int) -> list[Seen]:
        """What was seen of the contexts of positions from `start` on, by order; a context must lie in its row."""
        found, length = [], grams.sums.shape[1] - 1
        for order, table in zip(self.orders, self.tables, strict=True):
            if order >= length:
                found.append(_nothing(len(grams.sums), length - start))
                continue
            first = max(start, order)
            context = grams.before(order, first)[:, :-1]
            pair = grams.before(order + 1, first + 1)
            at = _find(table.contexts, context)
            times, kinds = (np.where(at >= 0, column[at], 0) for column in (table.times, table.kinds))
            follower = _find(table.pairs, pair)
            hits = np.where(follower >= 0, table.hits[follower], 0)
            found.append(Seen(*(_padded(column, first - start) for column in (times, hits, kinds))))
        return found


def _counted(grams: Grams, order: int, inside: NDArray[np.int64]) -> _Table:
    points = np.flatnonzero(inside >= order)
    if not len(points):
        none = np.zeros(1, np.int32)
        return _Table(np.zeros(1, np.uint64), none, none, np.zeros(1, np.uint64), none)
    context = grams.before(order, order)[0, points - order]
    pair = grams.before(order + 1, order + 1)[0, points - order]
    pairs, first, hits = np.unique(pair, return_index=True, return_counts=True)
    context = context[first]
    by_context = np.argsort(context)
    context = context[by_context]
    starts = np.flatnonzero(np.concatenate([[True], context[1:] != context[:-1]]))
    times = np.add.reduceat(hits[by_context], starts)
    kinds = np.diff(np.append(starts, len(context)))
    return _Table(context[starts], times.astype(np.int32), kinds.astype(np.int32), pairs, hits.astype(np.int32))


def _nothing(rows: int, length: int) -> Seen:
    none = np.zeros((rows, length), np.int32)
    return Seen(none, none, none)


def _find(known: Hashes, wanted: Hashes) -> NDArray[np.int64]:
    """[b t] index of each hash among the sorted ones, -1 where it is none of them."""
    at = np.minimum(np.searchsorted(known, wanted.ravel()), len(known) - 1).reshape(wanted.shape)
    return np.where(known[at] == wanted, at, -1)


def _padded(values: NDArray[np.generic], count: int) -> Ints:
    return np.pad(values, ((0, 0), (count, 0))).astype(np.int32)


def seen_before(tokens: NDArray[np.int64], orders: Sequence[int], start: int, cut: int = 0) -> list[Seen]:
    """What earlier positions of the same row show of the contexts of positions from `start` on, by order.

    tokens: [b t]. cut: no context of a position from there on reaches back over it (0: all may).
    """
    grams, rows = Grams(tokens), mixed(np.arange(len(tokens), dtype=np.uint64)[:, None])
    found = []
    for order in orders:
        if order >= tokens.shape[1]:
            found.append(_nothing(len(tokens), tokens.shape[1] - start))
            continue
        contexts, times = _grouped(grams.before(order, order)[:, :-1] ^ rows)
        _, hits = _grouped(grams.before(order + 1, order + 1) ^ rows)
        first = np.empty(hits.size, np.int32)
        first[:] = (hits == 0).ravel()[contexts]  # in the order of the sorted contexts
        before = np.cumsum(first, dtype=np.int32) - first
        kinds = np.empty_like(before)
        kinds[contexts] = before - before[np.arange(len(before)) - times.ravel()[contexts]]
        columns = [_padded(column, order) for column in (times, hits, kinds.reshape(times.shape))]
        if cut:
            for column in columns:
                column[:, cut : cut + order] = 0
        found.append(Seen(*(column[:, start:] for column in columns)))
    return found


def _grouped(hashes: Hashes) -> tuple[NDArray[np.int64], Ints]:
    """Indices [b · t] that sort the hashes, equal ones by position; and [b t] how many equal ones stand before each.

    The position takes the low bits of a sorted key: a plain sort is several times faster than an indirect one.
    """
    size = hashes.size
    bits = max(1, int(size - 1).bit_length())
    low = np.uint64((1 << bits) - 1)
    keys = np.sort((hashes.ravel() & ~low) | np.arange(size, dtype=np.uint64))
    order = (keys & low).astype(np.int64)
    keys >>= np.uint64(bits)
    starts = np.concatenate([[True], keys[1:] != keys[:-1]])
    index = np.arange(size)
    rank = index - np.maximum.accumulate(np.where(starts, index, 0))
    before = np.empty(size, np.int32)
    before[order] = rank
    return order, before.reshape(hashes.shape)
