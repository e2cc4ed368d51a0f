"""A scale that is linear near zero and logarithmic beyond, as symlog of matplotlib, for figures of any library."""

import math
from collections.abc import Sequence

MOST_UNITS = 3.5  # of an axis whose every power of ten is named in three steps


def symlog(value: float, linear: float) -> float:
    """Where a value stands: linear up to `linear` of either sign (1), then a unit for each power of ten."""
    size = abs(value) / linear
    return math.copysign(size if size <= 1 else 1 + math.log10(size), value)


def symlog_marks(values: Sequence[float], linear: float) -> list[float]:
    """Values to name on such an axis, from the least to the largest of `values`: 0, `linear`, round ones beyond."""
    low, high = min(values), max(values)
    steps = (1, 2, 5) if symlog(max(high, -low), linear) <= MOST_UNITS else (1,)
    rounds = [m * 10.0**power for power in range(-9, 10) for m in steps]
    above = [linear, *(mark for mark in rounds if mark > 1.5 * linear)]
    return [mark for mark in (*(-mark for mark in reversed(above)), 0.0, *above) if low <= mark <= high]
