"""Direct estimator: I = E[ln q(Y|X) - ln q(Y)] (arXiv 2503.04725, 4.3; difference of entropies, McAllester & Stratos).

Its error is the difference of two divergences, a bound in neither direction. Y of the second term comes from the
same document (paired), or, as published, from another one, which costs several times the variance.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l2m_design.errors import BadInput
from l2m_design.estimates import Curve
from l2m_design.information.cold_start import cold_start_shift
from l2m_design.information.profile import Advance, Losses, score_points
from l2m_design.information.scores.base import Scores
from l2m_design.information.split_points import SplitPoints


def direct_curve(
    points: SplitPoints,
    scores: Scores,
    pairing: Literal["same", "other"] = "same",
    bigram_correction: Literal["none", "paper"] = "none",
    advance: Advance = lambda windows: None,
) -> tuple[Curve, Losses]:
    """I(n;n) by document and h_t, one split point per window."""
    nats, losses = score_points(points, scores, advance)
    shift = cold_start_shift(points, float(nats.first_two.mean())) if bigram_correction == "paper" else 0.0
    name = f"direct, {pairing} document ({scores.scorer.name})"
    if pairing == "same":
        return points.curve(nats.alone - nats.behind + shift, name), losses
    mine, other = other_documents(points)
    values = nats.alone[other] - nats.behind[mine] + shift
    return points.chosen(mine).curve(values, name), losses


def other_documents(points: SplitPoints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of points (mine, other) of equal n in different documents, each split point in one pair only.

    Sorted by document, the first half is paired with the second, so the two sides share no document but perhaps one.
    Raises BadInput where one document gives half of the points or more.
    """
    mine, other = [], []
    for n in points.lengths.tolist():
        rows = np.nonzero(points.n == n)[0]
        rows = rows[np.argsort(points.document[rows], kind="stable")]
        half = len(rows) // 2
        mine.append(rows[:half])
        other.append(rows[half : 2 * half])
    first, second = np.concatenate(mine), np.concatenate(other)
    if not len(first) or (points.document[first] == points.document[second]).any():
        raise BadInput(
            "`pairing` other and vclub need windows in several documents; no document may contain half of them or more"
        )
    order = np.argsort(first)
    return first[order], second[order]
