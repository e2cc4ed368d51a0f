"""A control variate for a model's profile: what a compressor finds at the same places, known on far more of them.

Documents differ in how much they repeat, and so do their nats: on real text a compressor's C(X) + C(Y) - C(XY)
explains most of what varies between places (four fifths in the lab book's first corpus). Its mean over many windows
costs no scoring. So I = mean(I_model) over the scored places - b (mean(Z) there - mean(Z) over many windows), Z the
compressor's nats and b fitted at each length: less variance, and a bias of the order 1/rows where the model's nats are
not straight in Z (regression estimator of two-phase sampling).
"""

from dataclasses import replace

import numpy as np

from l2m_design.estimates import Covariate, Curve
from l2m_design.information.compression import compression_curve
from l2m_design.information.places import Places
from l2m_design.information.profile import Advance

FEWEST_ROWS = 30


def controlled(
    curve: Curve, places: Places, many: Places, vocabulary: int, advance: Advance = lambda windows: None
) -> Curve:
    """The curve measured at `places` with the compressor as covariate; `many`: places of the same law in more windows.

    With fewer than FEWEST_ROWS rows the slope would be too uncertain, and the curve stays as it is.
    """
    if len(curve.nats) < FEWEST_ROWS:
        return curve
    here = compression_curve(places, vocabulary).nats
    there = compression_curve(many, vocabulary, advance).nats
    return replace(curve, covariate=Covariate(here, there))


def one_spot(places: Places, rng: np.random.Generator) -> Places:
    """One place of each window and length, drawn from its spots."""
    order = rng.permutation(len(places))
    column = np.searchsorted(places.lengths, places.n)
    _, first = np.unique((places.window * len(places.lengths) + column)[order], return_index=True)
    return places.chosen(np.sort(order[first]))
