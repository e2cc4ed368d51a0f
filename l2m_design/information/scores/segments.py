"""Segments: runs of tokens to score, and the keys by which their scores are known."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Key = tuple[int, int, int]


class Segments(NamedTuple):
    """begin, length: where the scored tokens lie in the array of tokens; past_begin, past_length: what is put before.

    All [segments] integers. Without a past, past_begin is -1 and past_length 0.
    """

    begin: NDArray[np.int64]
    length: NDArray[np.int64]
    past_begin: NDArray[np.int64]
    past_length: NDArray[np.int64]

    @classmethod
    def alone(cls, begin: NDArray[np.int64], length: NDArray[np.int64]) -> "Segments":
        """Segments with nothing before them."""
        return cls(begin, length, np.full_like(begin, -1), np.zeros_like(begin))

    @classmethod
    def joined(cls, parts: Iterable["Segments"]) -> "Segments":
        """All segments of several sets."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def keys(self) -> list[tuple[int, int, int]]:
        """(past_begin, past_length, begin): what stands before each, and where it starts."""
        return list(zip(self.past_begin.tolist(), self.past_length.tolist(), self.begin.tolist(), strict=True))
