"""A control variate for a model's profile: what a compressor finds at the same places, known on far more of them.

Documents differ in how much they repeat, and so do their nats: on real text a compressor's C(X) + C(Y) - C(XY)
explains most of what varies between places (four fifths in the lab book's first corpus). Its mean over many windows
costs no scoring. So I = mean(I_model - b Z) over the scored places + mean(b Z) over many, Z the compressor's nats and
b fitted at each length: the same expectation, less variance (regression estimator of two-phase sampling).
"""

from dataclasses import dataclass, replace

import numpy as np

from l2m_design.estimates import Curve, Floats
from l2m_design.information.compression import compression_curve
from l2m_design.information.places import Places
from l2m_design.information.profile import Advance


@dataclass(frozen=True)
class Controlled:
    """The curve with its control variate; explained: [lengths] share of the variance between rows that it took off."""

    curve: Curve
    explained: Floats


def controlled(
    curve: Curve, places: Places, many: Places, vocabulary: int, advance: Advance = lambda windows: None
) -> Controlled:
    """Take the compressor's part off a curve measured at `places`; `many`: places of the same law in more windows."""
    here = compression_curve(places, vocabulary).nats
    there = compression_curve(many, vocabulary, advance).nats
    slope, explained = np.zeros(len(curve.lengths)), np.zeros(len(curve.lengths))
    for column in range(len(curve.lengths)):
        rows = np.isfinite(curve.nats[:, column]) & np.isfinite(here[:, column])
        y, z = (values[rows, column] - values[rows, column].mean() for values in (curve.nats, here))
        if len(y) > 3 and z @ z > 0:
            slope[column] = (y @ z) / (z @ z)
            left = y - slope[column] * z
            spread = (y @ y) / (len(y) - 1)
            explained[column] = 1 - (left @ left) / (len(y) - 2) / spread if spread else 0.0
    return Controlled(replace(curve, nats=curve.nats - slope * here, control=slope * there), explained)


def one_spot(places: Places, rng: np.random.Generator) -> Places:
    """One place of each window and length, drawn from its spots."""
    order = rng.permutation(len(places))
    column = np.searchsorted(places.lengths, places.n)
    _, first = np.unique((places.window * len(places.lengths) + column)[order], return_index=True)
    return places.chosen(np.sort(order[first]))
