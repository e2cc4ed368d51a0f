"""One call from a corpus to its measured law: windows, estimator, fit."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from l2m_design.corpus import Corpus, Documents
from l2m_design.corpus.windows import spread_windows
from l2m_design.errors import BadInput
from l2m_design.estimates import Curve, Estimate, Floats
from l2m_design.information.compression import SPOTS, compression_curve
from l2m_design.information.exponent import Fit, fit_curve
from l2m_design.information.profile import profile_curve, tokens_a_window
from l2m_design.settings import Values

if TYPE_CHECKING:
    from l2m_design.information.scores import Scorer

FEWEST_DOCUMENTS = 16
SHORTEST = 128
LONGEST = 8192

Length = Annotated[int, Field(ge=2, le=2**24)]
Progress = Callable[[int, int], None]


class MeasurementSettings(Values):
    """How to measure: lengths are n of I(n;n), doubling from `shortest` (128 unless given) to `longest`.

    longest: none for the largest that at least 16 documents hold (at most 8192). windows: of 2 · longest
    tokens, spread over the documents. split: which documents; none for all.
    """

    estimator: Literal["compression", "profile"] = "compression"
    shortest: Length | None = None
    longest: Length | None = None
    windows: Annotated[int, Field(ge=8, le=10**6)] = 256
    split: Literal["train", "validation", "test"] | None = None
    replicates: Annotated[int, Field(ge=100, le=10**5)] = 1000
    level: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Measurement:
    """A corpus' measured information: the curve, its interval, the fit, and what it cost.

    losses: h_t in nats by position, for estimators that score with a model.
    """

    corpus_fingerprint: str
    documents: int
    curve: Curve
    interval: list[Estimate]
    fit: Fit
    tokens_scored: int
    seconds: float
    losses: Floats | None

    @property
    def beta(self) -> Estimate | None:
        """The MI exponent, or none when the data prefer a law without one."""
        return self.fit.law.beta if self.fit.preferred.startswith("power") else None

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
            "law": self.fit.law.plain(),
            "documents": self.documents,
            "resampled": self.curve.unit,
            "tokens_scored": self.tokens_scored,
            "seconds": round(self.seconds, 2),
            "corpus_fingerprint": self.corpus_fingerprint,
            "losses_nats": None if self.losses is None else [round(h, 4) for h in self.losses.tolist()],
        }


def measure(
    corpus: Corpus,
    settings: MeasurementSettings,
    scorer: "Scorer | None" = None,
    on_progress: Progress = lambda done, total: None,
) -> Measurement:
    """Measure I(n;n) on a corpus; `profile` needs a scorer. Raises BadInput when documents are too short."""
    began = time.perf_counter()
    documents = corpus.documents(settings.split) if settings.split else corpus.all_documents
    lengths = doubling_lengths(settings, documents, corpus)
    rng = np.random.default_rng(settings.seed)
    longest = int(lengths[-1])
    windows = spread_windows(documents, 2 * longest, settings.windows, rng, corpus.name, corpus.period)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        on_progress(done, len(windows))

    losses = None
    if settings.estimator == "compression":
        curve = compression_curve(windows, lengths, corpus.vocabulary, rng, advance, corpus.period)
        spots = np.minimum(SPOTS, np.maximum(1, longest // (2 * lengths)))
        tokens = int((4 * lengths * spots).sum()) * len(windows)
    else:
        if scorer is None:
            raise BadInput("estimator profile needs a model: --model oracle or --model train")
        curve, losses = profile_curve(windows, lengths, scorer, advance)
        tokens = tokens_a_window(lengths) * len(windows)
    interval = curve.interval(settings.replicates, settings.level, rng)
    fit = fit_curve(curve, settings.replicates, settings.level, rng)
    return Measurement(
        corpus_fingerprint=corpus.fingerprint,
        documents=len(np.unique(windows.document)),
        curve=curve,
        interval=interval,
        fit=fit,
        tokens_scored=tokens,
        seconds=time.perf_counter() - began,
        losses=losses,
    )


def doubling_lengths(settings: MeasurementSettings, documents: Documents, corpus: Corpus) -> NDArray[np.int64]:
    """n = shortest, 2 · shortest, ... up to `longest`, multiples of the corpus' period. Raises BadInput."""
    shortest, longest = settings.shortest or SHORTEST, settings.longest
    if shortest % corpus.period:
        raise BadInput(f"shortest: {shortest} must be a multiple of {corpus.period} for {corpus.name}")
    if longest is None:
        lengths = np.sort(documents.lengths)[::-1]
        enough = int(lengths[min(FEWEST_DOCUMENTS, len(lengths)) - 1]) if len(lengths) else 0
        longest = min(LONGEST, enough // 2)
    doublings = int(np.log2(longest / shortest)) if longest >= shortest else -1
    if doublings < 4:
        raise BadInput(
            f"{corpus.name}: between {shortest} and {longest} lie {doublings + 1} lengths that double, a law needs 5; "
            f"give a smaller --shortest, a larger --longest, or documents of {32 * shortest} tokens and more"
        )
    return shortest * 2 ** np.arange(doublings + 1)
