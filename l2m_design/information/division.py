"""Division of documents: which prime the coder, which tune it, which are measured. Families stay together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.base import Documents
from l2m_design.errors import BadInput

PRIME = 1 << 20  # tokens
TUNE = 1 << 18
PRIME_SHARE, TUNE_SHARE = 1 / 3, 1 / 6  # of all tokens, at most
FEWEST_FAMILIES = 6  # two of each part, so that each has another document


@dataclass(frozen=True)
class Division:
    """prime, tune, measured: documents apart. priming: tokens of the first that are read. stretches: too few families,
    so parts of the same documents stand in.
    """

    prime: Documents
    tune: Documents
    measured: Documents
    priming: int
    stretches: bool = False


def divided(
    documents: Documents, longest: int, prime: int | None, name: str, rng: np.random.Generator, period: int = 1
) -> Division:
    """Divide documents for windows of 2 · longest tokens. Raises BadInput when they are too few.

    prime: tokens for priming, PRIME unless given, and without it a third of all tokens at most.
    """
    total, most = documents.size, int(documents.lengths.max(initial=0))
    if most < 2 * longest:
        raise BadInput(f"{name}: no document is as long as the required {2 * longest} tokens; the longest has {most}")
    wanted = prime or min(PRIME, int(PRIME_SHARE * total))
    tune = max(4 * longest, min(TUNE, int(TUNE_SHARE * total)))
    if wanted + tune + 4 * longest > total:
        raise BadInput(
            f"{name}: {total:,} tokens are too few to prime the compressor with {wanted:,}, to tune it with {tune:,} "
            "and to "
            f"measure others; give a smaller `prime` or `longest`, or more documents"
        )
    by_families = _by_families(documents, longest, wanted, tune, rng)
    return by_families or _by_stretches(documents, longest, wanted, tune, name, period)


def _by_families(
    documents: Documents, longest: int, prime: int, tune: int, rng: np.random.Generator
) -> Division | None:
    """Whole families, drawn in turn; none where they are too few."""
    families = np.arange(len(documents)) if documents.families is None else documents.families
    names, family = np.unique(families, return_inverse=True)
    large = np.bincount(family, documents.lengths, len(names)) > max(prime, tune)  # these would leave too few others
    turn = np.lexsort([rng.permutation(len(names)), large])
    rank = np.argsort(turn)[family]
    order = np.argsort(rank, kind="stable")
    tokens = np.bincount(rank, documents.lengths, len(names))
    long = np.bincount(rank, np.maximum(0, documents.lengths // (2 * longest)), len(names))
    ends = np.cumsum(tokens)
    first = int(np.searchsorted(ends, prime)) + 1
    enough = (ends - ends[min(first, len(ends)) - 1] >= tune) & (np.cumsum(long > 0) >= (long[:first] > 0).sum() + 2)
    if len(names) < FEWEST_FAMILIES or not enough[first:].any():
        return None
    second = first + int(np.argmax(enough[first:])) + 1
    if (long[second:] > 0).sum() < 2:
        return None
    cuts = np.searchsorted(rank[order], [first, second])
    parts = [documents.chosen(np.sort(rows)) for rows in np.split(order, cuts)]
    return Division(parts[0], parts[1], parts[2], prime)


def _by_stretches(documents: Documents, longest: int, prime: int, tune: int, name: str, period: int) -> Division:
    """Every document's beginning primes, its next part tunes, the rest is measured."""
    total = documents.size
    cuts = np.array([0.0, prime / total, (prime + tune) / total, 1.0])
    spans = documents.spans[:, :1] + (documents.lengths[:, None] * cuts / period).astype(np.int64) * period
    parts = [Documents(documents.tokens, spans[:, i : i + 2], documents.families) for i in range(3)]
    parts = [part.chosen(part.lengths > 0) for part in parts]
    if not len(parts[0]):
        raise BadInput(f"{name}: no document has {period} tokens to prime the compressor with; give a larger `prime`")
    for part, what in zip(parts[1:], ("tune on", "measure"), strict=True):
        if not (part.lengths >= 2 * longest).any():
            raise BadInput(
                f"{name}: too few documents have {2 * longest:,} tokens: fewer than {FEWEST_FAMILIES} unrelated ones, "
                f"and none is left to {what}; give a smaller `longest`, or more long documents"
            )
    return Division(parts[0], parts[1], parts[2], prime, stretches=True)


def texts(documents: Documents, most: int) -> list[NDArray[np.int64]]:
    """[t] tokens of the documents, `most` in all."""
    found: list[NDArray[np.int64]] = []
    for document in documents:
        if most <= 0:
            break
        found.append(np.asarray(document[:most], dtype=np.int64))
        most -= len(document)
    return [document for document in found if len(document)]
