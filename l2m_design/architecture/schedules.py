"""Schedules: what a layer still holds after t tokens, in exact integers: sparse keys, tree levels, snapshots.

PowerSchedule, a power-law budget of keys in chunks of c tokens: the reader's own and previous chunk are
whole; in a chunk of age a >= 2 the token of rank r stays while (r + phi_j)/c < min(1, keep · a^(exponent - 1)),
phi_j the van der Corput sequence of the chunk's index j, so that the mean budget keeps falling smoothly below
one token a chunk. Ages only grow, so an evicted token never returns. keep = exponent = 1 is full attention.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class PowerSchedule:
    """Chunks of `chunk` tokens (a power of two) thinned so that kept(t) grows as t^exponent."""

    chunk: int
    exponent: float
    keep: float = 1.0

    def count(self, t: int) -> int:
        """kept(t): keys held after t >= 1 tokens, about keep · chunk^(1-exponent) · t^exponent / exponent."""
        return _count(self, t)

    def survivors(self, current: int) -> Integers:
        """[chunks of age >= 2] kept tokens of each old chunk while chunk number `current` is being read."""
        old = max(0, current - 1)
        age = np.arange(current, current - old, -1, dtype=np.float64)
        bound = self.chunk * np.minimum(1.0, self.keep * age ** (self.exponent - 1.0))
        kept = np.ceil(bound - _van_der_corput(old))
        return np.clip(kept, 0, self.chunk).astype(np.int64)

    def old_positions(self, current: int) -> Integers:
        """[slots] absolute positions kept from old chunks while chunk `current` is read, ascending.

        Ranks within a chunk are spread evenly: the token at offset i has rank bit_reversal(i).
        """
        kept = self.survivors(current)
        held = bit_reversal(self.chunk)[None, :] < kept[:, None]
        chunks, offsets = np.nonzero(held)
        return chunks * self.chunk + offsets

    def positions(self, t: int) -> Integers:
        """[kept(t)] absolute positions held after t tokens, ascending."""
        current = (t - 1) // self.chunk
        local = np.arange(max(0, current - 1) * self.chunk, t, dtype=np.int64)
        return np.concatenate([self.old_positions(current), local])


@dataclass(frozen=True)
class FenwickLevels:
    """One slot for each level of a Fenwick tree over t tokens: floor(log2 t) + 1 (arXiv 2506.04761)."""

    exponent: float = 0.0

    def count(self, t: int) -> int:
        """The bits of t."""
        return t.bit_length()


@dataclass(frozen=True)
class Snapshots:
    """Copies of a state, floor(keep · t^exponent) of them after t tokens; keep and exponent at most 1."""

    exponent: float
    keep: float = 1.0

    def count(self, t: int) -> int:
        """Copies held after t tokens."""
        return int(self._counts(np.array([t], dtype=np.float64))[0])

    def times(self, first: int, last: int) -> Integers:
        """Lengths t with first < t <= last after whose t-th token a copy is taken (at most one a token)."""
        counts = self._counts(np.arange(first, last + 1, dtype=np.float64))
        return np.nonzero(np.diff(counts))[0] + first + 1

    def _counts(self, t: NDArray[np.float64]) -> Integers:
        return np.floor(self.keep * t**self.exponent + 1e-9).astype(np.int64)


@lru_cache(maxsize=4096)
def _count(schedule: PowerSchedule, t: int) -> int:
    current = (t - 1) // schedule.chunk
    local = t - max(0, current - 1) * schedule.chunk
    return local + int(schedule.survivors(current).sum())


def bit_reversal(size: int) -> Integers:
    """[size] the permutation that reverses the bits of 0..size-1; size a power of two."""
    reversed_ = np.zeros(1, dtype=np.int64)
    while len(reversed_) < size:
        reversed_ = np.concatenate([2 * reversed_, 2 * reversed_ + 1])
    return reversed_


@lru_cache(maxsize=64)
def _van_der_corput(count: int) -> NDArray[np.float64]:
    """[count] the van der Corput sequence in base 2: each index's bits mirrored behind the point."""
    values = np.zeros(1)
    while len(values) < count:
        values = np.concatenate([values, values + 0.5 / len(values)])
    return values[:count]
