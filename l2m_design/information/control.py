"""A control variate for a model's profile: what a compressor (PPMd) finds at the same split points, and at many more.

Documents differ in how much they repeat, and so do their nats: on real text a compressor's C(X) + C(Y) - C(XY)
explains most of what varies between points (four fifths in the lab book's first corpus). Its mean over many windows
costs no scoring. So I = mean(I_model) over the scored points - b (mean(Z) there - mean(Z) over many windows), Z the
compressor's nats and b fitted at each length: less variance, and a bias of the order 1/rows where the model's nats are
not straight in Z (regression estimator of two-phase sampling).
"""

import math
from dataclasses import replace

import numpy as np
import pyppmd

from l2m_design.estimates import Covariate, Curve
from l2m_design.information.profile import Advance
from l2m_design.information.split_points import SplitPoints

FEWEST_ROWS = 30
ORDER = 6
MEMORY = 1 << 24


def code_nats(data: bytes) -> float:
    """Length of the PPMd code of `data` in nats, beyond that of nothing."""
    if not data:
        return 0.0
    memory = min(MEMORY, max(1 << 20, 64 * len(data)))
    coded = len(pyppmd.compress(data, max_order=ORDER, mem_size=memory)) - _EMPTY
    return 8 * coded * math.log(2)


_EMPTY = len(pyppmd.compress(b"", max_order=ORDER, mem_size=1 << 20))


def halves_nats(x: bytes, y: bytes) -> float:
    """C(X) + C(Y) - C(XY) in nats: it counts the cost of learning the language too."""
    return code_nats(x) + code_nats(y) - code_nats(x + y)


def halves_curve(points: SplitPoints, vocabulary: int, advance: Advance = lambda windows: None) -> Curve:
    """halves_nats by document. Tokens are coded as bytes, or as wider little-endian numbers."""
    dtype = np.min_scalar_type(vocabulary - 1).newbyteorder("<")
    tokens, nats, window = points.documents.tokens, np.empty(len(points)), -1
    for index, (begin, n) in enumerate(zip(points.begin.tolist(), points.n.tolist(), strict=True)):
        x, y = (np.asarray(tokens[at : at + n]).astype(dtype).tobytes() for at in (begin, begin + n))
        nats[index] = halves_nats(x, y)
        if points.window[index] != window:
            window = int(points.window[index])
            advance(1)
    return points.curve(nats, "PPMd")


def controlled(
    curve: Curve, points: SplitPoints, many: SplitPoints, vocabulary: int, advance: Advance = lambda windows: None
) -> Curve:
    """The curve measured at `points` with the compressor as covariate; `many`: points of the same law in more windows.

    With fewer than FEWEST_ROWS rows the slope would be too uncertain, and the curve stays as it is.
    """
    if len(curve.nats) < FEWEST_ROWS:
        return curve
    here = halves_curve(points, vocabulary).nats
    there = halves_curve(many, vocabulary, advance).nats
    return replace(curve, covariate=Covariate(here, there))


def one_spot(points: SplitPoints, rng: np.random.Generator) -> SplitPoints:
    """One split point of each window and length, drawn from its spots."""
    order = rng.permutation(len(points))
    column = np.searchsorted(points.lengths, points.n)
    _, first = np.unique((points.window * len(points.lengths) + column)[order], return_index=True)
    return points.chosen(np.sort(order[first]))
