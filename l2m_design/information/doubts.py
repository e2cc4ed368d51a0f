"""What is known to be wrong with a measurement, or doubtful: notes of estimators, documents, models and fits."""

import numpy as np
from numpy.typing import NDArray

from l2m_design.estimates import Curve
from l2m_design.information.compression import Compression
from l2m_design.information.exponent import POOR, Fit
from l2m_design.information.profile import Losses
from l2m_design.information.scores.base import Scores
from l2m_design.information.settings import MeasurementSettings
from l2m_design.information.split_points import STRETCHES, SplitPoints

FEW = 20.0
ZERO_DRAWS, ZERO_LEVEL = 4000, 0.95
FALLS = 3.0  # standard errors
FALLEN, FALLEN_NATS = 1 / 3, 3.0  # of the largest amount, and at least so many nats: on known sources coders lose less
SMALL_PART, LEARNING = 0.25, 0.1
IMPOSSIBLE = 0.15  # of the amount: two coders differ by less


def explained_by(curve: Curve, compressed: Compression | None) -> str | None:
    """What explains the curve without order in the data: nothing is there, or the vocabulary of documents.

    Vocabulary explains it where what order adds is a small part of the amount at the longest n, by the upper end of its
    interval: two coders differ by some percent even where order tells nothing. A control that has failed explains
    nothing.
    """
    if compressed is None:
        return None
    if not _anywhere_above_zero(curve):
        return "nothing"
    _, high = _added_by_order(compressed)
    small = high < SMALL_PART * curve.mean()[-1]
    return "vocabulary" if small and not _control_failed(curve, compressed) else None


def _control_failed(curve: Curve, compressed: Compression) -> bool:
    """Did shuffled halves tell more than halves in order, significantly, and by more than two coders differ? They
    cannot: shuffling each half by itself adds no information, so the coder of shuffled tokens is off.
    """
    beyond_chance = _added_by_order(compressed)[1] < 0
    return beyond_chance and bool(compressed.ordered.mean()[-1] < -IMPOSSIBLE * curve.mean()[-1])


def order_is_open(curve: Curve, compressed: Compression) -> list[str]:
    """A warning where it is not known whether what order adds grows with n, or the control says what cannot be."""
    if _control_failed(curve, compressed):
        return [
            "with words shuffled the halves seem to share more information than in order, which is impossible: this "
            "control has failed and explains nothing"
        ]
    low, _ = _added_by_order(compressed)
    if low > 0:
        return []
    return [
        "the information that comes from word order does not grow significantly with n: the growth of the estimate may "
        "come from vocabulary alone"
    ]


def _added_by_order(compressed: Compression) -> tuple[float, float]:
    """The lower end of how much what order adds grows from the shortest n to the longest, and the upper end of what it
    adds at the longest, in nats.
    """
    draws = compressed.ordered.resampled(ZERO_DRAWS, np.random.default_rng(0))
    tail = (1 - ZERO_LEVEL) / 2
    return float(np.nanquantile(draws[:, -1] - draws[:, 0], tail)), float(np.nanquantile(draws[:, -1], 1 - tail))


def still_learning(compressed: Compression) -> list[str]:
    """A warning where the amount still depends on how much the coder had read."""
    by_size = [nats for _, nats in sorted(compressed.plateau.items())]
    change = by_size[-1] - by_size[-2]
    if abs(change) <= LEARNING * abs(by_size[-1]):
        return []
    return [
        f"the amount at the longest n still changes by {change:+.3g} nats when the compressor reads twice as much "
        "first: a part of it is language that the compressor learns from X; give more documents or a larger `prime`"
    ]


def _anywhere_above_zero(curve: Curve) -> bool:
    """Is the amount above 0 at some length, significantly over all lengths (Bonferroni)?"""
    draws = curve.resampled(ZERO_DRAWS, np.random.default_rng(0))
    lowest = np.nanquantile(draws, (1 - ZERO_LEVEL) / 2 / len(curve.lengths), axis=0)
    return bool((lowest > 0).any())


def known_faults(settings: MeasurementSettings, scores: Scores | None) -> list[str]:
    """What an estimator is known to get wrong."""
    if settings.estimator == "compression":
        return [
            "compression finds only dependence that n-grams express, so the amount is neither a lower nor an upper "
            "bound (on Santa Fe sources, where the truth is known, it is 6 to 46% too large)"
        ]
    if settings.estimator == "vclub":
        return [
            "vclub overestimates: it adds the divergence between the joint distribution and that of independent halves"
        ]
    if settings.needs_scorer and scores and not scores.scorer.exact:
        return ["the amount is what this model can use; information that it cannot use is missing"]
    return []


def dominated(points: SplitPoints, curve: Curve) -> list[str]:
    """A warning when few documents give most windows."""
    count = np.bincount(np.unique(points.document, return_inverse=True)[1]).astype(np.float64)
    effective = count.sum() ** 2 / (count**2).sum()
    if curve.unit == STRETCHES:
        return [
            f"too few documents to resample ({len(count)}, or too similar): parts of them were resampled, so the "
            "interval is valid for these documents only, not for documents of their kind"
        ]
    if len(count) < FEW:
        return [f"few documents: everything depends on {len(count)}"]
    if effective < FEW:
        return [f"few documents dominate: of {len(count)} with windows the effective number is {effective:.0f}"]
    return []


def far_context(losses: Losses) -> list[str]:
    """A warning when the loss no longer falls in the last octave."""
    used, longest = losses.context_used(), len(losses.by_position)
    if used is None or used >= longest:
        return []
    falls = f"falls measurably up to {used} tokens of context, not beyond" if used else "does not fall with context"
    return [
        f"the model's loss {falls} (windows have {longest} tokens): information that the model does not use is missing "
        "from the estimate, so beta may be too small"
    ]


def doubts(curve: Curve, fit: Fit) -> list[str]:
    """What the fit itself gives reason to doubt."""
    doubts = []
    if min(fit.misses.values()) > POOR:
        doubts.append("no law fits these data well: the reported law and its beta are only the best of those tried")
    if fit.has_exponent and fit.law.exponent > 0.995:
        doubts.append("beta is at its upper bound of 1, so the curve may be wrong")
    if (curve.mean() < -2 * curve.resampled(200, np.random.default_rng(0)).std(axis=0)).any():
        doubts.append(
            "some values are below 0, which is impossible for information: the estimator is wrong by at least as much"
        )
    if _falls(curve).any():
        doubts.append(
            "I(n;n) falls with n, which is impossible for a stationary source: the estimator misses information at "
            "longer n"
        )
    return doubts


def _falls(curve: Curve) -> NDArray[np.bool_]:
    """[lengths - 1] where the amount is less than at the length before, significantly."""
    draws = np.diff(curve.resampled(200, np.random.default_rng(0)), axis=1)
    below: NDArray[np.bool_] = np.diff(curve.mean()) < -FALLS * draws.std(axis=0)
    return below


def has_fallen(curve: Curve) -> bool:
    """Is the amount at the longest n less than at a shorter one, significantly and by much? No law is then one of a
    stationary source.
    """
    nats, draws = curve.mean(), curve.resampled(200, np.random.default_rng(0))
    peak = int(np.argmax(nats))
    fall = float(nats[peak] - nats[-1])
    beyond = FALLS * float((draws[:, peak] - draws[:, -1]).std())
    return fall > max(beyond, FALLEN_NATS, FALLEN * float(nats[peak]))
