"""One call from a corpus to its measured law: points, estimator, fit."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus import Corpus, Documents
from l2m_design.corpus.arrays import ArrayCorpus
from l2m_design.errors import BadInput
from l2m_design.estimates import Curve, Estimate
from l2m_design.information.compression import Compression, compression
from l2m_design.information.control import controlled, one_spot
from l2m_design.information.direct import direct_curve
from l2m_design.information.doubts import (
    dominated,
    doubts,
    explained_by,
    far_context,
    has_fallen,
    known_faults,
    order_is_open,
    still_learning,
)
from l2m_design.information.exponent import Fit, fit_curve
from l2m_design.information.gaussian import Reading, gaussian
from l2m_design.information.plan import (
    GAUSSIAN_WINDOWS,
    divided_points,
    documents_of,
    lengths_of,
    placed,
    planned_tokens,
)
from l2m_design.information.profile import Advance, Losses, profile_curve
from l2m_design.information.recordings import normalised
from l2m_design.information.scores.base import Scores
from l2m_design.information.settings import MeasurementSettings
from l2m_design.information.split_points import SplitPoints
from l2m_design.information.vclub import vclub_curve
from l2m_design.laws import PowerLaw
from l2m_design.settings import Json

CONTROL_TOKENS = 1 << 25
CONTROL_WINDOWS = 4096
FALL = "a fall"
STRONGER = {"none": ("recording", "copula"), "recording": ("copula",)}  # ways to normalise, by the one that was used

Progress = Callable[[int, int], None]


@dataclass(frozen=True, repr=False)
class Measurement:
    """The measured information of a corpus: curve, intervals, fitted law and cost.

    curve: nats by n and document. interval: the mean in nats for each n, with interval. fit: the fitted laws.
    tokens_scored: tokens that the compressor or estimator read, or that the model scored (now, or earlier in a table).
    seconds: wall time. losses: loss by position, if a model scored. explained: for each n, the share of the variance
    between documents that the control variate removes. explained_by: the control that explains the amount, if one does;
    then there is no beta. notes: warnings in words. bytes_per_token: average bytes per token of text, 1 if n counts
    bytes. copies: number of copies, see Corpus.copied. other: for each n, nats of Y with the X of other recordings
    (gaussian). untried: ways to normalise recordings that may still help.
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
    compression: Compression | None
    explained_by: str | None
    notes: list[str]
    bytes_per_token: float | None = None
    copies: dict[str, int] | None = None
    other: list[float] | None = None
    untried: tuple[str, ...] = ()

    def __repr__(self) -> str:
        n, nats = self.curve.lengths, self.curve.mean()
        found = f"beta {self.beta}" if self.beta else "no beta"
        amounts = f"{nats[0]:.3g} .. {nats[-1]:.3g} nats at n = {n[0]} .. {n[-1]}"
        return f"<Measurement by {self.curve.estimator}: {amounts}, {found}>"

    @property
    def beta(self) -> Estimate | None:
        """The exponent of I(n;n) with interval; None if a law without one is preferred, or if a control explains the
        curve.
        """
        return self.fit.law.beta if self.fit.has_exponent and self.explained_by is None else None

    @property
    def without_beta(self) -> str | None:
        """Why there is no exponent, in words; None if there is one."""
        if self.beta:
            return None
        if self.explained_by == "nothing":
            return "no amount differs significantly from 0: n-grams find no information between the two halves"
        if self.explained_by == "vocabulary":
            return (
                "with words shuffled the halves still share at least three quarters of the information: it comes from "
                "vocabulary, not from word order"
            )
        if self.explained_by == "other recordings":
            other = f"`normalise` {' or '.join(self.untried)}, " if self.untried else ""
            return (
                "Y seems to share information with the X of other recordings, which is impossible, so the amount is an "
                "artefact: there are too few rows, or they have unlike scales or heavy tails, or depend on each other. "
                f"Give {other}a "
                "smaller `longest`, or more recordings, [documents, time(, channels)]"
            )
        if self.explained_by == FALL:
            return (
                "I(n;n) falls with n, which is impossible for a stationary source: something is wrong with the input "
                "(rows that are padded, that begin alike, or that join unlike documents), or the estimator misses "
                "information at longer n"
            )
        if self.explained_by == "drift":
            return "levels drift within the recordings, so I(n;n) depends on the position"
        return f"the preferred law is '{self.fit.preferred}', I(n;n) = {self.fit.required.formula()} nats"

    @property
    def required(self) -> PowerLaw | None:
        """The law that the state of a model is compared with, with or without exponent; None if a control explains the
        curve.
        """
        if self.explained_by == "nothing":
            return _at_most(self.interval[-1])
        return None if self.explained_by else self.fit.required

    def plain(self) -> Json:
        """Return the results as JSON, with the documented keys."""
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
            "required": self.required.plain() if self.required else None,
            "unit": "bytes" if self.bytes_per_token == 1 else "tokens",
            "bytes_per_token": self.bytes_per_token,
            "documents": self.documents,
            "copies": self.copies,
            "vocabulary": self.vocabulary,
            "resampled": self.curve.unit,
            "tokens_scored": self.tokens_scored,
            "seconds": round(self.seconds, 2),
            "corpus_fingerprint": self.corpus_fingerprint,
            "losses_nats": None if self.losses is None else [round(h, 4) for h in self.losses.by_position.tolist()],
            "control_explained": None if self.explained is None else [round(x, 3) for x in self.explained],
            "explained_by": self.explained_by,
            "other_recordings_nats": None if self.other is None else [round(x, 4) for x in self.other],
            "compression": None if self.compression is None else self.compression.plain(self.fit.law.level),
            "context_used": None if self.losses is None else self.losses.context_used(),
            "notes": self.notes,
        }


def _at_most(found: Estimate) -> PowerLaw:
    """A constant between nothing and what chance leaves open."""
    high = max(0.0, found.high)
    draws = np.array([[0.0, 0.0, end] for end in (0.0, high) for _ in range(50)])
    return PowerLaw(0.0, 0.0, max(0.0, found.value), draws, form="constant")


def measure(
    corpus: Corpus,
    settings: MeasurementSettings,
    scores: Scores | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Measurement:
    """Measure I(n;n) on a corpus. Raises BadInput if documents are too short.

    scores: scores of the documents of `scored_documents`, for the estimators that need a model.
    """
    began = time.perf_counter()
    rng = np.random.default_rng(settings.seed)
    if settings.estimator == "gaussian" and not isinstance(corpus, ArrayCorpus):
        raise BadInput(f"{corpus.name}: the gaussian estimator needs real values: .npy, .npz, tree-gaussian, arfima")
    if settings.needs_scorer and scores is None:
        raise BadInput(
            f"estimator {settings.estimator} needs a model: `model` oracle, train, a folder, a name or a URL"
        )
    documents = scores.documents if scores else documents_of(corpus, settings)
    lengths = lengths_of(settings, documents, corpus, scores.scorer.context if scores else None)
    by = {"gaussian": _by_gaussian, "compression": _by_compression}.get(settings.estimator, _by_model)
    found = by(_Task(corpus, settings, documents, lengths, scores, rng, on_progress))
    curve, explained = found.curve, found.curve.explained()
    fit = fit_curve(curve, settings.replicates, settings.level, rng)
    fallen = not corpus.whole and found.explained_by is None and has_fallen(curve)
    return Measurement(
        corpus_fingerprint=corpus.fingerprint,
        vocabulary=corpus.vocabulary,
        documents=found.documents,
        curve=curve,
        interval=curve.interval(settings.replicates, settings.level, rng),
        fit=fit,
        tokens_scored=found.tokens,
        seconds=time.perf_counter() - began,
        losses=found.losses,
        explained=None if explained is None else explained.tolist(),
        compression=found.compressed,
        explained_by=FALL if fallen else found.explained_by,
        notes=doubts(curve, fit) + known_faults(settings, scores) + found.notes,
        bytes_per_token=corpus.bytes_per_token,
        copies=corpus.copied,
        other=found.other,
        untried=found.untried,
    )


@dataclass(frozen=True)
class _Task:
    """What to measure, by what."""

    corpus: Corpus
    settings: MeasurementSettings
    documents: Documents
    lengths: NDArray[np.int64]
    scores: Scores | None
    rng: np.random.Generator
    on_progress: Progress

    def advance(self, total: int) -> Advance:
        """Counts parts done, of so many in all."""
        done = 0

        def step(parts: int) -> None:
            nonlocal done
            done += parts
            self.on_progress(done, total)

        return step


@dataclass(frozen=True)
class _Found:
    """A curve, from how many documents and tokens, and what an estimator knows besides."""

    curve: Curve
    documents: int
    tokens: int
    notes: list[str]
    losses: Losses | None = None
    compressed: Compression | None = None
    explained_by: str | None = None
    other: list[float] | None = None
    untried: tuple[str, ...] = ()


def _by_gaussian(task: _Task) -> _Found:
    corpus, settings = task.corpus, task.settings
    assert isinstance(corpus, ArrayCorpus)
    how = settings.normalise or ("recording" if corpus.recorded else "none")
    if corpus.whole and how != "none":
        raise BadInput(f"{corpus.name}: its documents are samples, not recordings; give `normalise` none")
    read = (
        normalised(task.documents, corpus.period, how, corpus.name) if corpus.recorded or settings.normalise else None
    )
    documents = read.documents if read else task.documents
    reading = Reading(corpus.period, settings.windows or GAUSSIAN_WINDOWS, corpus.whole)
    found = gaussian(documents, task.lengths, reading, how == "copula", task.advance(len(task.lengths)))
    why = "other recordings" if found.contradicted else "drift" if read and read.drifts else None
    notes = (read.notes if read else []) + found.notes
    other, untried = found.other.tolist(), () if corpus.whole else STRONGER.get(how, ())
    return _Found(found.curve, len(documents), documents.size, notes, explained_by=why, other=other, untried=untried)


def _by_compression(task: _Task) -> _Found:
    division, points = divided_points(task.corpus, task.settings, task.documents, task.lengths, task.rng)
    found = compression(task.corpus, division, points, task.rng, task.advance(len(points)))
    notes = dominated(points, found.curve)
    if division.stretches:
        notes.append(
            "too few families of documents to prime the coder with others: it read the beginnings of the measured "
            "ones, and what a document shares with its own beginning is not counted"
        )
    why = explained_by(found.curve, found)
    notes += still_learning(found) + ([] if why else order_is_open(found.curve, found))
    documents = len(np.unique(points.document))
    tokens = planned_tokens(points, task.settings)
    return _Found(found.curve, documents, tokens, notes, compressed=found, explained_by=why)


def _by_model(task: _Task) -> _Found:
    assert task.scores is not None
    points = placed(task.corpus, task.settings, task.documents, task.lengths, task.rng)
    curve, losses, tokens = _estimated(task.settings, points, task.scores, task.advance(points.windows))
    curve = _controlled(task.corpus, task.settings, curve, points, task.scores, task.rng)
    notes = dominated(points, curve)
    if losses and not task.scores.scorer.exact:
        notes += far_context(losses)
    return _Found(curve, len(np.unique(points.document)), tokens, notes, losses)


def _estimated(
    settings: MeasurementSettings, points: SplitPoints, scores: Scores, advance: Advance
) -> tuple[Curve, Losses | None, int]:
    """The curve, h_t where there is one, and the number of tokens that the model scores."""
    scores.check_context(2 * int(points.lengths[-1]))
    before = scores.tokens_asked
    pairing: Any = settings.pairing
    if settings.estimator == "vclub":
        curve, losses = vclub_curve(points, scores, advance)
    elif settings.estimator == "direct":
        curve, losses = direct_curve(points, scores, pairing, settings.bigram_correction, advance)
    else:
        curve, losses = profile_curve(points, scores, pairing, settings.bigram_correction, advance)
    return curve, losses, scores.tokens_asked - before


def _controlled(
    corpus: Corpus,
    settings: MeasurementSettings,
    curve: Curve,
    points: SplitPoints,
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
    if not wanted or corpus.whole or points.documents.tokens.dtype.kind == "f":
        return curve
    most = CONTROL_TOKENS // (8 * int(points.lengths[-1]))
    count = max(points.windows, min(CONTROL_WINDOWS, most))
    many = one_spot(placed(corpus, settings, points.documents, points.lengths, rng, count), rng)
    return controlled(curve, points, many, corpus.vocabulary)
