"""Padding: a run of one token (or value) at the ends of rows made equally long, and what of a row is left without it.

Rows look padded where at least one in twenty begins, or ends, with a run of one token of RUN or more, behind one start
token or before one end token too. The token pads if it hardly stands elsewhere, less than once in a hundred other
tokens; or if rows with such runs are ten times as many as runs of it inside: by chance they would stand there too, as
silence in a recording or a common base does. Where they are only three times as many it is doubtful, and only reported.
Long runs of other tokens at the same ends count as chance, and where few rows are padded shorter runs inside do, of
whatever token.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

RUN = 16
ROWS = 0.05
ELSEWHERE = 0.01
SURE, DOUBTFUL = 10, 3  # runs at the ends of rows for each inside
SHORT = 4  # runs inside that are so many times shorter still count where few rows are padded
SAMPLE = 512  # rows that are looked at
IGNORED = -100  # what trainers put in place of labels that do not count

WHY = {
    "rare": "which is rare elsewhere",
    "runs": "which are rare inside rows",
    "doubtful": "which occur inside rows too, but less often",
}


@dataclass(frozen=True)
class Padding:
    """The token (or value) that pads, whether rows begin and end with it, why it is held to pad; behind: also behind
    one start token, or before one end token.
    """

    token: int | float
    front: bool
    back: bool
    why: Literal["named", "rare", "runs", "doubtful"]
    behind: bool = False

    @property
    def sentence(self) -> str:
        """What rows do, in words."""
        side = "begin and end" if self.front and self.back else "begin" if self.front else "end"
        return f"rows {side} with runs of"

    def inside(self, row: NDArray[Any]) -> NDArray[Any]:
        """A row [t] or [t, channels] without its padding; a start or end token outside it stays."""
        pads = (row == self.token).reshape(len(row), -1).all(axis=1)
        start, first = _cut(pads, self.behind) if self.front else (0, 0)
        end, last = _cut(pads[::-1], self.behind) if self.back else (0, 0)
        if start + end >= len(row):
            return row[:0]
        parts = [row[:first], row[start : len(row) - end], row[len(row) - last :]]
        return np.concatenate(parts) if first or last else parts[1]


def _cut(pads: NDArray[np.bool_], behind: bool) -> tuple[int, int]:
    """How much the padding takes at the beginning, and how many tokens before it stay: one, or none."""
    first = int(behind and len(pads) > 2 and not pads[0] and bool(pads[1:3].all()))
    other = np.flatnonzero(~pads[first:])
    return (first + int(other[0]) if len(other) else len(pads)), first


@dataclass(frozen=True)
class _Runs:
    """[runs] of one token in rows: the token, the length, whether it touches the row's front or back, or nearly."""

    token: NDArray[Any]
    length: NDArray[np.int64]
    front: NDArray[np.bool_]
    back: NDArray[np.bool_]
    behind: NDArray[np.bool_]  # one token stands outside it


def noticed(rows: NDArray[Any]) -> Padding | None:
    """The padding of rows [rows, t], if they look padded; rows spread over all are looked at."""
    count = len(rows)
    if count < 2 or rows.shape[1] < 2 * RUN:
        return None
    sample = rows[np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(int))]
    runs = _runs(sample)
    ends = Counter(runs.token[(runs.length >= RUN) & (runs.front | runs.back)].tolist())
    found = [_judged(sample, runs, token) for token, _ in ends.most_common(3)]
    return min(filter(None, found), key=lambda padding: padding.why == "doubtful", default=None)


def _runs(sample: NDArray[Any]) -> _Runs:
    """The runs of rows [rows, t] that are not much shorter than RUN."""
    tokens, starts, lengths = [], [], []
    for row in sample:
        start = np.concatenate([[0], np.flatnonzero(row[1:] != row[:-1]) + 1])
        length = np.diff(start, append=len(row))
        kept = length >= RUN // SHORT
        tokens.append(row[start[kept]])
        starts.append(start[kept])
        lengths.append(length[kept])
    first, length, width = np.concatenate(starts), np.concatenate(lengths), sample.shape[1]
    front, back = first <= 1, first + length >= width - 1
    behind = (front & (first == 1)) | (back & (first + length < width))
    return _Runs(np.concatenate(tokens), length, front, back, behind)


def _judged(sample: NDArray[Any], runs: _Runs, token: int | float) -> Padding | None:
    """What speaks for a token as the padding of rows [rows, t]: its runs at their ends, held against all others."""
    least, edge = ROWS * len(sample), runs.front | runs.back
    long, own = runs.length >= RUN, (runs.token == token) & (runs.length >= RUN)
    whole, padded = int((own & runs.front & runs.back).sum()), int(runs.length[own & edge].sum())
    held = np.array([(own & runs.front & ~runs.back).sum(), (own & runs.back & ~runs.front).sum()])
    counted = held + whole * np.array([held[0] > held[1], held[0] <= held[1]])
    sides = counted >= least
    if not sides.any() or padded == sample.size:
        return None
    others = long & ~own & ((runs.front & sides[0]) | (runs.back & sides[1]))
    chance = int(others.sum())
    if counted[sides].min() < SURE:  # few rows: shorter runs inside, of whatever token, speak against it
        chance += int((~edge & (runs.length >= runs.length[own & edge].mean() / SHORT)).sum())
    front, back = sides.tolist()
    behind = int((own & runs.behind).sum()) >= least
    elsewhere = int((sample == token).sum()) - padded
    if elsewhere < ELSEWHERE * max(1, sample.size - padded) and counted[sides].min() >= SURE * chance:
        return Padding(token, front, back, "rare", behind)
    chance += int((own & ~edge).sum()) + int(held[~sides].sum())
    fewest = int(held[sides].min()) if whole <= held.sum() else 0
    if fewest < max(1, DOUBTFUL * chance):
        return None
    return Padding(token, front, back, "runs" if fewest >= SURE * chance else "doubtful", behind)
