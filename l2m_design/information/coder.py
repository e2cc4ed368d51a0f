"""DocumentCoder: the code length of a stretch Y after X, by a coder that knows the language from other documents.

It interpolates the n-grams of priming documents, then those of the text before each token (X and Y so far), then those
of Y so far alone. Three sets of weights, fitted on tuning documents, tell what it may expect of X: `same`, X stands
before Y in one document; `other`, X is of another document; `alone`, there is no X. With Y the same in all three,

    I(X;Y) = min(C(Y | X of another document), C(Y)) - C(Y | X of the same document).

The first two both bound the entropy of Y from above; after X of another document, what X teaches of the language alone
is in both terms and cancels. So does the cost of Y itself. Lengths are exact, -ln q in nats, not whole bytes.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2m_design.estimates import Floats
from l2m_design.information.interpolation import (
    Level,
    Weights,
    fitted_weights,
    interpolated,
    joined,
    level,
)
from l2m_design.information.ngrams import Counts, Grams, Seen, seen_before

Tokens = NDArray[np.int64]

PRIMED_BITS, WINDOW_BITS = 28.0, 72.0  # of context: the longest in other documents, and in the window
PRIMED_MOST, WINDOW_MOST = 12, 32  # tokens
LEVELS = 10
DISCOUNTS, DISCOUNTED = (1.0, 0.0), 2
BATCH = 1 << 18  # tokens counted at once
LEAST_BITS = 0.5
THREADS = min(4, os.cpu_count() or 1)


class CodeLengths(NamedTuple):
    """Nats of Y [b] after X of the same document, after X of another, and without any."""

    same: Floats
    other: Floats
    alone: Floats


class _Chains(NamedTuple):
    """The levels of each of the three, and the language below them [b · n]: with X before Y, and from Y's start."""

    same: list[Level]
    other: list[Level]
    alone: list[Level]
    language: Floats
    language_of_y: Floats


@dataclass(frozen=True)
class DocumentCoder:
    """A primed and tuned coder of tokens below `vocabulary`.

    counts: of the priming documents, with the weights `language`. orders: of contexts in the window.
    """

    vocabulary: int
    counts: Counts
    orders: tuple[int, ...]
    language: Weights
    same: Weights
    other: Weights
    alone: Weights

    @classmethod
    def primed(
        cls, documents: list[Tokens], tuning: list[tuple[Tokens, Tokens]], vocabulary: int, repeats: float = 1.0
    ) -> "DocumentCoder":
        """Count the documents [t] and fit the weights.

        tuning: blocks (xy [b t], x of other documents [b n], see code) of documents that are not counted, a token of
        theirs `repeats` times on average.
        """
        known, own = orders_of(documents)
        counts = Counts.of(documents, known)
        levels = joined([_language_levels(counts.seen(Grams(xy[:, x.shape[1] :]), 0)) for xy, x in tuning])
        uniform = np.full(levels[0].share.shape, 1.0 / vocabulary)
        language = fitted_weights(levels, uniform, repeats)
        start = cls(vocabulary, counts, own, language, (), (), ())
        chains = [start._chains(xy, other) for xy, other in tuning]
        same, other, alone = (joined([getattr(each, role) for each in chains]) for role in CodeLengths._fields)
        below, below_y = (
            np.concatenate([getattr(each, name) for each in chains]) for name in ("language", "language_of_y")
        )
        with ThreadPoolExecutor(THREADS) as pool:
            weights = pool.map(fitted_weights, (same, other, alone), (below, below_y, below_y), [repeats] * 3)
        return cls(vocabulary, counts, own, language, *weights)

    def code(self, xy: Tokens, other: Tokens) -> CodeLengths:
        """Code Y = xy[:, n:] after X, the tokens of xy [b t] before it; other: [b n] an X of another document."""
        rows = max(1, BATCH // xy.shape[1])
        parts = [self._code(xy[i : i + rows], other[i : i + rows]) for i in range(0, len(xy), rows)]
        return CodeLengths(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _code(self, xy: Tokens, other: Tokens) -> CodeLengths:
        chains = self._chains(xy, other)

        def nats(levels: list[Level], weights: Weights, below: Floats) -> Floats:
            total: Floats = -np.log(interpolated(levels, weights, below)).reshape(len(xy), -1).sum(axis=1)
            return total

        return CodeLengths(
            nats(chains.same, self.same, chains.language),
            nats(chains.other, self.other, chains.language_of_y),
            nats(chains.alone, self.alone, chains.language_of_y),
        )

    def _chains(self, xy: Tokens, other: Tokens) -> _Chains:
        n = other.shape[1]
        y = xy[:, n:]
        reach = min(n, y.shape[1], max(self.counts.orders))
        after_x = self.counts.seen(Grams(xy[:, n - reach :]), reach)
        from_start = [
            Seen(*(np.concatenate([a, b[:, reach:]], axis=1) for a, b in zip(first, rest, strict=True)))
            for first, rest in zip(self.counts.seen(Grams(y[:, :reach]), 0), after_x, strict=True)
        ]
        own = self._levels(seen_before(y, self.orders, 0), from_start)
        same = self._levels(seen_before(xy, self.orders, n), after_x)
        strange = self._levels(seen_before(np.concatenate([other, y], axis=1), self.orders, n, cut=n), from_start)
        language = (self._language(seen) for seen in (after_x, from_start))
        return _Chains(same + own, strange + own, own, *language)

    def _levels(self, seen: list[Seen], known: list[Seen]) -> list[Level]:
        """The window's levels; each order beside the longest known one that is no longer."""
        beside = [max(i for i, k in enumerate(self.counts.orders) if k <= order) for order in self.orders]
        common = known[self.counts.orders.index(1)].kinds
        return [
            level(one, known[index].kinds, common, discount)
            for order, one, index in zip(self.orders, seen, beside, strict=True)
            for discount in (DISCOUNTS if order <= DISCOUNTED else (0.0,))
        ]

    def _language(self, seen: list[Seen]) -> Floats:
        return interpolated(_language_levels(seen), self.language, np.full(seen[0].times.size, 1.0 / self.vocabulary))


def _language_levels(seen: list[Seen]) -> list[Level]:
    return [level(one, discount=discount) for one in seen for discount in DISCOUNTS]


def orders_of(documents: list[Tokens]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Orders of contexts in other documents, and in the window: as many tokens as a number of bits takes.

    A context of 28 bits was hardly ever seen in a million tokens by chance, nor was one of 72 in a window.
    """
    shares = np.unique(np.concatenate(documents), return_counts=True)[1] / sum(map(len, documents))
    bits = max(LEAST_BITS, float(-(shares * np.log2(shares)).sum()))
    known = min(PRIMED_MOST, max(2, round(PRIMED_BITS / bits)))
    own = min(WINDOW_MOST, max(4, round(WINDOW_BITS / bits)))
    return ladder(known), ladder(own)


def ladder(longest: int) -> tuple[int, ...]:
    """Orders 0, 1, 2, 3, ... up to `longest`, LEVELS at most, short ones dense."""
    if longest < LEVELS:
        return tuple(range(longest + 1))
    found = [0, 1]
    while found[-1] < longest:
        found.append(max(found[-1] + 1, round(found[-1] * (longest / found[-1]) ** (1 / (LEVELS - len(found))))))
    return tuple(found)
