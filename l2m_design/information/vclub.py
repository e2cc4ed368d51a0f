"""vCLUB estimator (Cheng et al. 2020): E_p(x,y) ln q(y|x) - E_p(x)p(y) ln q(y|x).

Its first term is the direct estimator's, so their agreement is no independent evidence. With the exact law it gives
I + KL(p_X p_Y || p_XY): on hierarchical Gaussians the right slope and a constant 2.7 times too large.
"""

import numpy as np

from l2m_design.estimates import Curve
from l2m_design.information.direct import other_documents
from l2m_design.information.profile import Advance, Losses, score_points
from l2m_design.information.scores.base import Scores
from l2m_design.information.scores.segments import Segments
from l2m_design.information.split_points import SplitPoints


def vclub_curve(points: SplitPoints, scores: Scores, advance: Advance = lambda windows: None) -> tuple[Curve, Losses]:
    """I(n;n) by document and h_t: each Y behind its own X, and behind the X of another window."""
    nats, losses = score_points(points, scores, advance, alone=False)
    mine, other = other_documents(points)
    begin, n, past = points.begin[mine], points.n[mine], points.begin[other]
    values = np.empty(len(mine))
    group = max(64, scores.scorer.batch_tokens // int(points.lengths[-1]))
    windows = np.unique(points.window[mine])
    for first in range(0, len(windows), group):
        rows = np.nonzero(np.isin(points.window[mine], windows[first : first + group]))[0]
        segments = Segments(begin[rows] + n[rows], n[rows], past[rows], n[rows])
        found = scores.of(segments)
        sums = [float(found[key][:m].sum(dtype=np.float64)) for key, m in zip(segments.keys(), n[rows], strict=True)]
        values[rows] = np.array(sums) - nats.behind[mine[rows]]
    return points.chosen(mine).curve(values, f"vclub ({scores.scorer.name})"), losses
