"""What is known to be wrong with a measurement, or doubtful: notes of estimators, documents, models and fits."""

import numpy as np

from l2m_design.estimates import Curve
from l2m_design.information.compression import Compression
from l2m_design.information.exponent import POOR, Fit
from l2m_design.information.places import Places
from l2m_design.information.profile import Losses
from l2m_design.information.scores.base import Scores
from l2m_design.information.settings import MeasurementSettings

FEW = 20.0
ZERO_DRAWS, ZERO_LEVEL = 4000, 0.95
FALLS = 3.0  # standard errors


def words_tell_as_much(found: Compression) -> bool:
    """Does order add nothing at the longest n?"""
    last = found.ordered.resampled(ZERO_DRAWS, np.random.default_rng(0))[:, -1]
    return bool(np.nanquantile(last, (1 - ZERO_LEVEL) / 2) <= 0 < found.curve.mean()[-1])


def explained_by(curve: Curve, compressed: Compression | None) -> str | None:
    """What explains the curve without order in the data: nothing is there, or the vocabulary of documents."""
    if compressed is None:
        return None
    if not _anywhere_above_zero(curve):
        return "nothing"
    return None if _anywhere_above_zero(compressed.ordered) else "vocabulary"


def _anywhere_above_zero(curve: Curve) -> bool:
    """Is the amount above 0 at some length, beyond chance over all lengths (Bonferroni)?"""
    draws = curve.resampled(ZERO_DRAWS, np.random.default_rng(0))
    lowest = np.nanquantile(draws, (1 - ZERO_LEVEL) / 2 / len(curve.lengths), axis=0)
    return bool((lowest > 0).any())


def known_faults(settings: MeasurementSettings, scores: Scores | None) -> list[str]:
    """What an estimator is known to get wrong."""
    if settings.estimator == "compression":
        return [
            "found by n-grams of other documents and of the window: order of other kinds stays unseen, and the "
            "amount is no bound in either direction"
        ]
    if settings.estimator == "vclub":
        return ["vclub overstates the amount: it adds the divergence of independent halves from real ones"]
    if settings.needs_scorer and scores and not scores.scorer.exact:
        return ["relative to this model: what it cannot use it cannot show"]
    return []


def dominated(places: Places, curve: Curve) -> list[str]:
    """A warning when few documents give most windows."""
    count = np.bincount(np.unique(places.document, return_inverse=True)[1]).astype(np.float64)
    effective = count.sum() ** 2 / (count**2).sum()
    if curve.unit.startswith("stretches"):
        return [
            f"too few documents to resample ({len(count)}, or too akin): stretches of them were resampled, so the "
            "interval is one for these documents, not for their kind"
        ]
    if len(count) < FEW:
        return [f"few documents: everything rests on {len(count)}"]
    if effective < FEW:
        return [f"few documents dominate: {len(count)} give windows, as unevenly as if {effective:.0f} gave all"]
    return []


def far_context(losses: Losses) -> list[str]:
    """A warning when the loss no longer falls in the last octave."""
    used, longest = losses.context_used(), len(losses.by_position)
    if used is None or used >= longest:
        return []
    falls = f"falls measurably up to {used} tokens of context and no further" if used else "gains nothing measurable"
    return [
        f"the model's loss {falls} (windows hold {longest}): information that it does not use it cannot show, so beta "
        "may look too small"
    ]


def doubts(curve: Curve, fit: Fit) -> list[str]:
    """What the fit itself gives reason to doubt."""
    doubts = []
    if min(fit.misses.values()) > POOR:
        doubts.append("no law fits these data well: what is said of their law, beta too, is the least bad")
    if fit.has_exponent and fit.law.exponent > 0.995:
        doubts.append("beta is at its bound of 1: more is impossible, so the curve may be off")
    if (curve.mean() < -2 * curve.resampled(200, np.random.default_rng(0)).std(axis=0)).any():
        doubts.append("some values are below 0, which no information is: the estimator is off by at least as much")
    draws = np.diff(curve.resampled(200, np.random.default_rng(0)), axis=1)
    if (np.diff(curve.mean()) < -FALLS * draws.std(axis=0)).any():
        doubts.append(
            "I(n;n) falls with n, which no stationary source's does: the estimator loses what it saw at shorter n, or "
            "documents of unequal kinds are measured at unequal lengths"
        )
    return doubts
