"""Profile estimator: I(n;n) from the losses of one causal model over overlapping windows.

For a stationary source with h_t = E[loss | t - 1 past tokens], I(n;n) = sum_{t<=n} h_t - sum_{n<t<=2n} h_t. The
plain form subtracts the losses of different tokens of one window. The paired form scores the same n tokens twice,
with and without the n before them: the same expectation (for any source, stationary or not), and the noise of the
tokens themselves cancels, a control variate. benchmarks/schedules.py compares the variance that a scored token buys.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from l2m_design.estimates import Curve, Floats
from l2m_design.information.cold_start import cold_start_shift
from l2m_design.information.scores.base import Scores
from l2m_design.information.scores.segments import Key, Segments
from l2m_design.information.split_points import SplitPoints

NOTHING = 1e-6

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Losses:
    """How losses fall with context.

    by_position: [tokens of a longest window] nats, h_t. gains: by n, nats per token that the last half of Y gains from
    the n tokens of X before it (their past grows from about 3n/4 to 7n/4); none where Y was not scored alone.
    """

    by_position: Floats
    gains: Curve | None

    def context_used(self) -> int | None:
        """The longest context 2n whose second half still made the loss fall, by two standard errors; 0 for none."""
        if self.gains is None:
            return None
        rows = self.gains.nats
        count = np.maximum(np.isfinite(rows).sum(axis=0), 2)
        error = np.nanstd(rows, axis=0, ddof=1) / np.sqrt(count)
        used = np.nonzero(self.gains.mean() > 2 * error + NOTHING)[0]
        return 2 * int(self.gains.lengths[used[-1]]) if used.size else 0


@dataclass(frozen=True)
class PointNats:
    """[points] nats of Y at each split point: after its X, alone, and the first two tokens of Y alone.

    plain: nats of X alone less those of Y behind it. gain: what the last half of Y gains from X, a token.
    """

    behind: Floats
    alone: Floats
    first_two: Floats
    plain: Floats
    gain: Floats


def score_points(
    points: SplitPoints, scores: Scores, advance: Advance = lambda windows: None, alone: bool = True
) -> tuple[PointNats, Losses]:
    """Score every split point; without `alone`, only X and Y together."""
    nats = np.zeros((5, len(points)))
    longest = 2 * int(points.lengths[-1])
    total, count = np.zeros(longest), 0
    group = max(8, scores.scorer.batch_tokens // longest + 1)
    for first in range(0, points.windows, group):
        last = min(first + group, points.windows)
        some = points.of_windows(first, last)
        segments = [Segments.alone(some.begin, 2 * some.n)]
        if alone:
            segments.append(Segments.alone(some.begin + some.n, some.n))
        found = scores.of(Segments.joined(segments))
        rows = slice(*np.searchsorted(points.window, [first, last]))
        nats[:, rows] = _place_nats(some, found, alone)
        for begin in some.begin[2 * some.n == longest].tolist():
            total += found[-1, 0, begin][:longest]
            count += 1
        advance(last - first)
    scored = PointNats(*nats)
    gains = points.curve(scored.gain, "gain") if alone else None
    return scored, Losses(total / count, gains)


def _place_nats(points: SplitPoints, found: dict[Key, Floats], alone: bool) -> Floats:
    sums = {key: np.cumsum(row, dtype=np.float64) for key, row in found.items()}
    nats = np.zeros((5, len(points)))
    for index, (begin, n) in enumerate(zip(points.begin.tolist(), points.n.tolist(), strict=True)):
        together = sums[-1, 0, begin]
        nats[0, index] = together[2 * n - 1] - together[n - 1]
        nats[3, index] = together[n - 1] - nats[0, index]
        if alone:
            y = sums[-1, 0, begin + n]
            nats[1, index], nats[2, index] = y[n - 1], y[min(1, n - 1)]
            middle = n // 2
            if middle:
                behind = together[2 * n - 1] - together[n + middle - 1]
                nats[4, index] = (y[n - 1] - y[middle - 1] - behind) / (n - middle)
    return nats


def profile_curve(
    points: SplitPoints,
    scores: Scores,
    pairing: Literal["same", "none"] = "same",
    bigram_correction: Literal["none", "paper"] = "none",
    advance: Advance = lambda windows: None,
) -> tuple[Curve, Losses]:
    """I(n;n) by document and h_t. pairing "none": the plain form, one split point per window."""
    nats, losses = score_points(points, scores, advance, alone=pairing == "same")
    values = nats.alone - nats.behind if pairing == "same" else nats.plain
    shift = cold_start_shift(points, float(nats.first_two.mean())) if bigram_correction == "paper" else 0.0
    return points.curve(values + shift, f"profile ({scores.scorer.name})"), losses
