"""Padding: a run of one token (or value) at the ends of rows made equally long, and what of a row is left without it.

A token is taken for padding where at least one row in twenty ends, or begins, with a run of it of RUN or more, and less
than one in a hundred of all other tokens is the same: silence in a recording, or a common base, is none.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RUN = 16
ROWS = 0.05
ELSEWHERE = 0.01
SAMPLE = 512  # rows that are looked at
IGNORED = -100  # what trainers put in place of labels that do not count


@dataclass(frozen=True)
class Padding:
    """The token (or value) that pads, on which side, and whether it was noticed (or named)."""

    token: int | float
    left: bool
    noticed: bool

    def inside(self, row: NDArray[Any]) -> NDArray[Any]:
        """A row [t] or [t, channels] without its padding."""
        kept = np.flatnonzero((row != self.token).reshape(len(row), -1).any(axis=1))
        if not len(kept):
            return row[:0]
        return row[kept[0] :] if self.left else row[: kept[-1] + 1]


def run_length(row: NDArray[Any]) -> int:
    """How often a row's [t] first token is repeated at its beginning."""
    other = np.flatnonzero(row != row[0]) if len(row) else row
    return int(other[0]) if len(other) else len(row)


def noticed(rows: NDArray[Any]) -> Padding | None:
    """The padding of rows [rows, t], if they look padded; rows spread over all are looked at."""
    count = len(rows)
    if count < 2 or rows.shape[1] < 2 * RUN:
        return None
    sample = rows[np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(int))]
    for left in (False, True):
        ends = sample if left else sample[:, ::-1]
        runs = [(row[0].item(), run_length(row)) for row in ends]
        longest = Counter(token for token, run in runs if run >= RUN).most_common(1)
        if not longest or longest[0][1] < ROWS * len(sample):
            continue
        token = longest[0][0]
        padded = sum(run for value, run in runs if value == token)
        elsewhere = int((sample == token).sum()) - padded
        if elsewhere < ELSEWHERE * max(1, sample.size - padded) and padded < sample.size:
            return Padding(token, left, True)
    return None
