"""Schedules: what a layer still holds after t tokens, in exact integers: sparse keys, tree levels, snapshots.

Sparse keys are evicted in chunks of c tokens: the reader's own and previous chunk are whole, then tokens age.

PowerSchedule, a power-law budget for every chunk: in a chunk of age a >= 2 the token of rank r stays while
(r + phi_j)/c < min(1, keep · a^(exponent - 1)), phi_j the van der Corput sequence of the chunk's index j, so that the
mean budget keeps falling smoothly below one token a chunk. Ages only grow, so an evicted token never returns.
keep = exponent = 1 is full attention; exponent 0 keeps about keep · c · ln(t/c) tokens. WindowSchedule: chunks stay
whole, then go. GlobalBudget: B(t) tokens with the best scores of all that have aged.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
RECORD = 4  # float32 numbers beside key and value in a slot chosen by use: use, ageing, attention received, birth


class ChunkSchedule(ABC):
    """How many tokens of each chunk stay, by its age: the same slots whatever the tokens are.

    chunk: tokens, a power of two. sinks: first tokens that are never evicted.
    """

    chunk: int
    exponent: float
    sinks: int = 0

    @property
    def logarithmic(self) -> bool:
        """Does kept(t) grow as log t?"""
        return False

    @abstractmethod
    def survivors(self, current: int) -> Integers:
        """[chunks of age >= 2] tokens kept of each while chunk number `current` is read, sinks left out of account."""

    def count(self, t: int) -> int:
        """kept(t): keys held after t >= 1 tokens."""
        return _count(self, t)

    def lifetimes(self, chunks: int) -> Integers:
        """[chunks, chunk] by a token's chunk and rank: the number of the first chunk whose readers find it gone.

        Looks no further than `chunks`: what is still held then says `chunks`.
        """
        return _lifetimes(self, chunks)

    def old_positions(self, current: int) -> Integers:
        """[slots] absolute positions kept from old chunks while chunk `current` is read, ascending.

        Ranks within a chunk are spread evenly: the token at offset i has rank bit_reversal(i).
        """
        kept = self.survivors(current)
        held = bit_reversal(self.chunk)[None, :] < kept[:, None]
        held.reshape(-1)[: self.sinks] = True
        chunks, offsets = np.nonzero(held)
        return chunks * self.chunk + offsets

    def positions(self, t: int) -> Integers:
        """[kept(t)] absolute positions held after t tokens, ascending, where ranks are spread evenly."""
        current = (t - 1) // self.chunk
        local = np.arange(max(0, current - 1) * self.chunk, t, dtype=np.int64)
        return np.concatenate([self.old_positions(current), local])


@dataclass(frozen=True)
class PowerSchedule(ChunkSchedule):
    """Slots of chunks such that kept(t) grows as t^exponent.

    kept(t) is about keep · chunk^(1-exponent) · t^exponent / exponent.
    """

    chunk: int
    exponent: float
    keep: float = 1.0

    @property
    def logarithmic(self) -> bool:
        """With exponent 0 the chunks' budgets fall as 1/age, and their sum grows as log t."""
        return self.exponent == 0

    def survivors(self, current: int) -> Integers:
        """See ChunkSchedule."""
        old = max(0, current - 1)
        age = np.arange(current, current - old, -1, dtype=np.float64)
        bound = self.chunk * np.minimum(1.0, self.keep * age ** (self.exponent - 1.0))
        kept = np.ceil(bound - _van_der_corput(old))
        return np.clip(kept, 0, self.chunk).astype(np.int64)


@dataclass(frozen=True)
class WindowSchedule(ChunkSchedule):
    """The last `window` tokens (whole chunks) behind the local two, and the first `sinks`."""

    chunk: int
    window: int
    sinks: int = 0
    exponent: float = 0.0

    def survivors(self, current: int) -> Integers:
        """See ChunkSchedule."""
        old = max(0, current - 1)
        age = np.arange(current, current - old, -1)
        return np.where((age - 1) * self.chunk <= self.window, self.chunk, 0).astype(np.int64)


@dataclass(frozen=True)
class GlobalBudget:
    """The B(t) best of all tokens that have aged out of the local two chunks; B is set as a chunk begins, at t tokens.

    power: B(t) = floor(keep · t^exponent). log: floor(keep · chunk · ln(t/chunk)). fixed: `window`. At least `sinks`,
    the first tokens, which are never evicted.
    """

    chunk: int
    law: Literal["power", "log", "fixed"]
    exponent: float = 0.0
    keep: float = 1.0
    window: int = 0
    sinks: int = 0

    @property
    def logarithmic(self) -> bool:
        """By its law."""
        return self.law == "log"

    def budget(self, current: int) -> int:
        """B while chunk number `current` is read, never more than there are old tokens."""
        t, old = current * self.chunk, max(0, current - 1) * self.chunk
        if not old:
            return 0
        wide = self.keep * (t**self.exponent if self.law == "power" else self.chunk * math.log(current))
        slots = self.window if self.law == "fixed" else math.floor(wide + 1e-9)
        return min(old, max(slots, self.sinks))

    def count(self, t: int) -> int:
        """B(t) and the local tokens."""
        current = (t - 1) // self.chunk
        return self.budget(current) + t - max(0, current - 1) * self.chunk


@dataclass(frozen=True)
class FenwickLevels:
    """One slot for each level of a Fenwick tree over t tokens: floor(log2 t) + 1 (arXiv 2506.04761)."""

    exponent: float = 0.0
    logarithmic = True

    def count(self, t: int) -> int:
        """The bits of t."""
        return t.bit_length()


@dataclass(frozen=True)
class Snapshots:
    """Copies of a state, floor(keep · t^exponent) of them after t tokens; keep and exponent at most 1."""

    exponent: float
    keep: float = 1.0
    logarithmic = False

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
def _count(schedule: ChunkSchedule, t: int) -> int:
    current = (t - 1) // schedule.chunk
    local = t - max(0, current - 1) * schedule.chunk
    if schedule.sinks:
        return local + len(schedule.old_positions(current))
    return local + int(schedule.survivors(current).sum())


@lru_cache(maxsize=16)
def _lifetimes(schedule: ChunkSchedule, chunks: int) -> Integers:
    ranks = np.arange(schedule.chunk)
    until = np.repeat(np.minimum(np.arange(chunks) + 2, chunks)[:, None], schedule.chunk, axis=1)
    for current in range(2, chunks):
        kept = schedule.survivors(current)
        until[: current - 1][ranks < kept[:, None]] = current + 1
    return until


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
