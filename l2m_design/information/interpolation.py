"""Interpolation of what contexts have shown, from short to long: p <- w hits/times + (1 - w) p, order by order.

The weight w of an order depends on how often its context was seen and how many followers it had, in buckets, and is
fitted by expectation-maximisation on documents that were not counted (deleted interpolation, Jelinek & Mercer 1980).
The counts of the window itself are the cache of Kuhn & De Mori (1990). A bucket that does not save LEAST_NATS on those
documents is left out: where nothing can be learnt, nothing is added, and chance does not look like information.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2m_design.estimates import Floats
from l2m_design.information.ngrams import Ints, Seen

STEPS = (20, 10)
START = 0.3
PRIOR = 2.0  # observations against every bucket
LEAST_NATS = 12.0
TIMES, KINDS = 8, 5
KNOWN, COMMON = (1, 2, 3, 9), (3, 65)
BUCKETS = TIMES * KINDS * (len(KNOWN) + 1) * (len(COMMON) + 1)

Weights = tuple[Floats, ...]


@dataclass(frozen=True)
class Level:
    """One order: buckets [m], the share of the token among the followers seen [m], and what all shares sum to [m]."""

    bucket: NDArray[np.int16]
    share: NDArray[np.float32]
    room: NDArray[np.float32]


def level(seen: Seen, known: Ints | None = None, common: Ints | None = None, discount: float = 0.0) -> Level:
    """The level of one order, positions flattened.

    known: [b t] followers that the same context has in other documents; common: those of the last token alone. Of two
    contexts seen once, one that has two followers in the language (a name and its attribute) is worth more than one
    that has hundreds.
    """
    times, hits, kinds = seen
    often = np.minimum(np.frexp(times.astype(np.float32))[1], TIMES - 1)  # 1, 2-3, 4-7, ...
    spread = np.where(kinds <= 2, np.maximum(kinds, 1) - 1, np.where(kinds <= 4, 2, np.where(2 * kinds <= times, 3, 4)))
    bucket = often * KINDS + spread
    bucket *= (len(KNOWN) + 1) * (len(COMMON) + 1)
    if known is not None and common is not None:
        bucket += np.digitize(known, KNOWN) * (len(COMMON) + 1) + np.digitize(common, COMMON)
    bucket = np.where(times > 0, bucket, 0).astype(np.int16)
    share = np.maximum(0.0, hits - discount) / np.maximum(times, 1)
    room = np.where(times > 0, 1 - discount * kinds / np.maximum(times, 1), 0.0)
    return Level(bucket.ravel(), share.astype(np.float32).ravel(), room.astype(np.float32).ravel())


def joined(rows: Sequence[Sequence[Level]]) -> list[Level]:
    """The levels of several sets of positions, one after the other."""
    return [
        Level(*(np.concatenate([getattr(one, name) for one in each]) for name in ("bucket", "share", "room")))
        for each in zip(*rows, strict=True)
    ]


def interpolated(levels: Sequence[Level], weights: Weights, base: Floats) -> Floats:
    """[m] probability of each position's token; base [m]: below the first level."""
    for one, weight in zip(levels, weights, strict=True):
        base = _step(one, weight, base)
    return base


def _step(one: Level, weight: Floats, below: Floats) -> Floats:
    own = weight[one.bucket]
    probability: Floats = own * one.share + (1 - own * one.room) * below
    return probability


def fitted_weights(levels: Sequence[Level], base: Floats, repeats: float = 1.0) -> Weights:
    """Weights [BUCKETS] of each level that make the positions likely; 0 for contexts never seen.

    repeats: how often a token of the documents stands among the positions.
    """
    weights = [np.where(np.arange(BUCKETS) > 0, START, 0.0) for _ in levels]
    for steps in STEPS:  # what a bad lower level had to be overruled by is superfluous once that is gone
        weights = _earned(levels, _maximised(levels, weights, base, steps), base, LEAST_NATS * repeats)
    return tuple(weights)


def _maximised(levels: Sequence[Level], weights: list[Floats], base: Floats, steps: int) -> list[Floats]:
    """Steps of expectation-maximisation; a weight of 0 stays."""
    weights = list(weights)
    for _ in range(steps):
        chain = _chain(levels, weights, base)
        mass = np.ones_like(base)
        for index in range(len(levels) - 1, -1, -1):
            one = levels[index]
            taken = weights[index][one.bucket] * one.share / chain[index + 1]
            used = np.bincount(one.bucket, mass * taken, BUCKETS)
            met = np.bincount(one.bucket, mass * one.room, BUCKETS)
            weights[index] = np.minimum(1.0, used / (met + PRIOR))
            mass *= 1 - taken
    return weights


def _chain(levels: Sequence[Level], weights: Sequence[Floats], base: Floats) -> list[Floats]:
    chain = [base]
    for one, weight in zip(levels, weights, strict=True):
        chain.append(_step(one, weight, chain[-1]))
    return chain


def _earned(levels: Sequence[Level], weights: list[Floats], base: Floats, least: float) -> list[Floats]:
    """The weights without buckets that save less than so many nats, the longest contexts first."""
    chain = _chain(levels, weights, base)
    for index in range(len(levels) - 1, -1, -1):
        if not weights[index].any():
            continue
        without = interpolated(levels[index + 1 :], tuple(weights[index + 1 :]), chain[index])
        saved = np.bincount(levels[index].bucket, np.log(chain[-1]) - np.log(without), BUCKETS)
        if ((saved < least) & (weights[index] > 0)).any():
            weights[index] = np.where(saved < least, 0.0, weights[index])
            chain = _chain(levels, weights, base)
    return weights
