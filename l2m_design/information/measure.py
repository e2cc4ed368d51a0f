"""One call from a corpus to its measured law: places, estimator, fit."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from l2m_design.corpus import Corpus
from l2m_design.corpus.arrays import ArrayCorpus
from l2m_design.errors import BadInput
from l2m_design.estimates import Curve, Estimate
from l2m_design.information.compression import compression_curve
from l2m_design.information.control import controlled, one_spot
from l2m_design.information.direct import direct_curve
from l2m_design.information.exponent import POOR, Fit, fit_curve
from l2m_design.information.gaussian import gaussian_curve
from l2m_design.information.places import Places
from l2m_design.information.plan import GAUSSIAN_WINDOWS, documents_of, lengths_of, placed, planned_tokens
from l2m_design.information.profile import Advance, Losses, profile_curve
from l2m_design.information.scores.base import Scores
from l2m_design.information.settings import MeasurementSettings
from l2m_design.information.vclub import vclub_curve

FEW = 20.0
CONTROL_TOKENS = 1 << 25
CONTROL_WINDOWS = 4096

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Measurement:
    """A corpus' measured information: the curve, its interval, the fit, and what it cost.

    tokens_scored: coded by the compressor, read by the gaussian estimator, or asked of the model (scored now, or held
    by a table). losses: h_t by position, where a model scored. explained: by n, the share of the variance between
    documents that a compressor took off (control.py). notes: what the user should be told.
    """

    corpus_fingerprint: str
    vocabulary: int
    documents: int
    curve: Curve
    interval: list[Estimate]
    fit: Fit
    tokens_scored: int
    seconds: float
    losses: Losses | None
    explained: list[float] | None
    notes: list[str]

    @property
    def beta(self) -> Estimate | None:
        """The MI exponent, or none when the data prefer a law without one."""
        return self.fit.law.beta if self.fit.has_exponent else None

    def plain(self) -> dict[str, Any]:
        """JSON-ready, with the keys that other programs rely on."""
        return {
            "beta": self.beta.plain() if self.beta else None,
            "prefactor_nats": self.fit.law.prefactor,
            "offset_nats": self.fit.law.offset,
            "power_exponent": self.fit.law.beta.plain(),
            "lengths": self.curve.lengths.tolist(),
            "mi_nats": [e.value for e in self.interval],
            "mi_low": [e.low for e in self.interval],
            "mi_high": [e.high for e in self.interval],
            "local_slopes": [None if np.isnan(e.value) else e.plain() for e in self.fit.local_slopes],
            "estimator": self.curve.estimator,
            "preferred_law": self.fit.preferred,
            "preference": self.fit.sentence,
            "preferred_by_replicates": self.fit.agreement,
            "law": self.fit.law.plain(),
            "documents": self.documents,
            "vocabulary": self.vocabulary,
            "resampled": self.curve.unit,
            "tokens_scored": self.tokens_scored,
            "seconds": round(self.seconds, 2),
            "corpus_fingerprint": self.corpus_fingerprint,
            "losses_nats": None if self.losses is None else [round(h, 4) for h in self.losses.by_position.tolist()],
            "control_explained": None if self.explained is None else [round(x, 3) for x in self.explained],
            "context_used": None if self.losses is None else self.losses.context_used(),
            "notes": self.notes,
        }


def measure(
    corpus: Corpus,
    settings: MeasurementSettings,
    scores: Scores | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Measurement:
    """Measure I(n;n) on a corpus. Raises BadInput when documents are too short.

    scores: of the documents that `scored_documents` names, for the estimators that need a model.
    """
    began = time.perf_counter()
    rng = np.random.default_rng(settings.seed)
    if settings.estimator == "gaussian" and not isinstance(corpus, ArrayCorpus):
        raise BadInput(f"{corpus.name}: the gaussian estimator is for real values: .npy, .npz, tree-gaussian, arfima")
    if settings.needs_scorer and scores is None:
        raise BadInput(
            f"estimator {settings.estimator} needs a model: --model oracle, train, a folder, a name or a URL"
        )
    documents = scores.documents if scores else documents_of(corpus, settings)
    lengths = lengths_of(settings, documents, corpus, scores.scorer.context if scores else None)
    done = 0

    def advance(parts: int) -> None:
        nonlocal done
        done += parts
        on_progress(done, total)

    losses, places = None, None
    if settings.estimator == "gaussian":
        total = len(lengths)
        windows = settings.windows or GAUSSIAN_WINDOWS
        curve, notes = gaussian_curve(documents, lengths, corpus.period, windows, corpus.whole, advance)
        used, tokens = len(documents), documents.size
    else:
        places = placed(corpus, settings, documents, lengths, rng)
        total = places.windows
        curve, losses, notes, tokens = _estimated(corpus, settings, places, scores, advance)
        curve = _controlled(corpus, settings, curve, places, scores, rng)
        used = len(np.unique(places.document))
        notes += _dominated(places, curve)
        if losses and scores and not scores.scorer.exact:
            notes += _far_context(losses)
    explained = curve.explained()
    fit = fit_curve(curve, settings.replicates, settings.level, rng)
    return Measurement(
        corpus_fingerprint=corpus.fingerprint,
        vocabulary=corpus.vocabulary,
        documents=used,
        curve=curve,
        interval=curve.interval(settings.replicates, settings.level, rng),
        fit=fit,
        tokens_scored=tokens,
        seconds=time.perf_counter() - began,
        losses=losses,
        explained=None if explained is None else explained.tolist(),
        notes=_doubts(curve, fit) + _notes(settings, scores) + notes,
    )


def _estimated(
    corpus: Corpus, settings: MeasurementSettings, places: Places, scores: Scores | None, advance: Advance
) -> tuple[Curve, Losses | None, list[str], int]:
    """The curve, h_t where there is one, notes, and tokens coded or asked of the model."""
    if settings.estimator == "compression":
        return compression_curve(places, corpus.vocabulary, advance), None, [], planned_tokens(places, settings)
    assert scores is not None
    scores.check_context(2 * int(places.lengths[-1]))
    before = scores.tokens_asked
    if settings.estimator == "vclub":
        curve, losses = vclub_curve(places, scores, advance)
    elif settings.estimator == "direct":
        pairing: Any = settings.pairing
        curve, losses = direct_curve(places, scores, pairing, settings.bigram_correction, advance)
    else:
        pairing = settings.pairing
        curve, losses = profile_curve(places, scores, pairing, settings.bigram_correction, advance)
    return curve, losses, [], scores.tokens_asked - before


def _controlled(
    corpus: Corpus,
    settings: MeasurementSettings,
    curve: Curve,
    places: Places,
    scores: Scores | None,
    rng: np.random.Generator,
) -> Curve:
    """The curve with the compressor's part taken off, where the settings ask for it."""
    wanted = settings.control == "compression" or (
        settings.control == "auto"
        and settings.estimator == "profile"
        and settings.pairing == "same"
        and scores is not None
        and not scores.scorer.exact
    )
    if not wanted or corpus.whole or places.documents.tokens.dtype.kind == "f":
        return curve
    most = CONTROL_TOKENS // (8 * int(places.lengths[-1]))
    count = max(places.windows, min(CONTROL_WINDOWS, most))
    many = one_spot(placed(corpus, settings, places.documents, places.lengths, rng, count), rng)
    return controlled(curve, places, many, corpus.vocabulary)


def _notes(settings: MeasurementSettings, scores: Scores | None) -> list[str]:
    """What an estimator is known to get wrong."""
    if settings.estimator == "compression":
        return [
            "compression also counts the cost of learning the language: the amount is too high, and this exponent is "
            "an upper bound of the source's"
        ]
    if settings.estimator == "vclub":
        return ["vclub overstates the amount: it adds the divergence of independent halves from real ones"]
    if settings.needs_scorer and scores and not scores.scorer.exact:
        return ["relative to this model: what it cannot use it cannot show"]
    return []


def _dominated(places: Places, curve: Curve) -> list[str]:
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


def _far_context(losses: Losses) -> list[str]:
    """A warning when the loss no longer falls in the last octave."""
    used, longest = losses.context_used(), len(losses.by_position)
    if used is None or used >= longest:
        return []
    falls = f"falls measurably up to {used} tokens of context and no further" if used else "gains nothing measurable"
    return [
        f"the model's loss {falls} (windows hold {longest}): information that it does not use it cannot show, so beta "
        "may look too small"
    ]


def _doubts(curve: Curve, fit: Fit) -> list[str]:
    """What the fit itself gives reason to doubt."""
    doubts = []
    if min(fit.misses.values()) > POOR:
        doubts.append("no law fits these data well: what is said of their law, beta too, is the least bad")
    if fit.has_exponent and fit.law.exponent > 0.995:
        doubts.append("beta is at its bound of 1: more is impossible, so the curve may be off")
    if (curve.mean() < -2 * curve.resampled(200, np.random.default_rng(0)).std(axis=0)).any():
        doubts.append("some values are below 0, which no information is: the estimator is off by at least as much")
    return doubts
