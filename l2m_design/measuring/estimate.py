"""Measure a corpus by estimators and models, all given by name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from l2m_design.corpus import Corpus, open_corpus
from l2m_design.corpus.arrays import ArrayCorpus
from l2m_design.errors import BadInput
from l2m_design.information import Measurement, MeasurementSettings, TwoPoint, measure, two_point
from l2m_design.information.plan import plan
from l2m_design.measuring.scorer import (
    REFERENCE_TOKENS,
    Progress,
    Scoring,
    check_model,
    open_scores,
    own_tokenizer,
    planned,
)
from l2m_design.settings import Json

MOST_PAIRS = 4096  # tokens between the two of two_point, at most, unless a reach is given


class Estimation:
    """One corpus, read by the tokenizer of each model, measured.

    corpus: a name, a path, or a corpus. tokens: the training budget of model "train". table: of one model's scores.
    """

    def __init__(
        self,
        corpus: str | Path | Corpus,
        tokenizer: str | None = None,
        trust_remote_code: bool = False,
        device: str = "auto",
        tokens: int = REFERENCE_TOKENS,
        table: Path | None = None,
    ) -> None:
        if isinstance(corpus, Corpus) and tokenizer:
            raise BadInput(
                "tokenizer: an opened corpus already has one; give the name of the corpus instead, or open it with "
                "this tokenizer"
            )
        if not isinstance(corpus, str | Path | Corpus):
            raise BadInput(f"corpus: must be a name, a path or a Corpus, found {type(corpus).__name__}")
        self._given = corpus if isinstance(corpus, Corpus) else None
        self._name, self._tokenizer, self._device = str(corpus), tokenizer, device
        self._scoring = Scoring(tokens, table, trust_remote_code)
        self._opened: dict[str | None, Corpus] = {}

    def corpus(self, model: str | None = None) -> Corpus:
        """The corpus in a model's tokens; one that was given stays as it is."""
        own = None
        if model and self._given is None and self._tokenizer is None and "tokenizer=" not in self._name:
            own = own_tokenizer(model, self._scoring.trust_remote_code)
        if own not in self._opened:
            opened = self._given or open_corpus(self._name, self._tokenizer, self._scoring.trust_remote_code, own)
            self._opened[own] = opened
        return self._opened[own]

    def default(self, has_model: bool) -> str:
        """The estimator where none is named: gaussian for arrays of real numbers, else compression."""
        return "gaussian" if not has_model and isinstance(self.corpus(), ArrayCorpus) else "compression"

    def notes(self) -> list[str]:
        """What the corpora tell of themselves, each sentence once."""
        return list(dict.fromkeys(note for corpus in self._opened.values() for note in corpus.notes))

    @property
    def first(self) -> Corpus:
        """The corpus as it was read first."""
        return next(iter(self._opened.values())) if self._opened else self.corpus()

    def measurements(
        self, wanted: Sequence[MeasurementSettings], models: Sequence[str], on_progress: Progress
    ) -> list[Measurement]:
        """Every estimator in turn, those that need a model once with each; a model scores what it must once."""

        def on_window(done: int, total: int) -> None:
            on_progress("pieces of windows", done, total)

        found = {}
        for index, settings in enumerate(wanted):
            if not settings.needs_scorer:
                found[index, 0] = measure(self.corpus(), settings, on_progress=on_window)
        for place, model in enumerate(models):
            mine = {i: planned(settings, model) for i, settings in enumerate(wanted) if settings.needs_scorer}
            corpus, first = self.corpus(model), next(iter(mine.values()))
            with open_scores(corpus, first, model, self._device, on_progress, self._scoring) as scores:
                for index, settings in mine.items():
                    found[index, place] = measure(corpus, settings, scores, on_window)
        return [found[key] for key in sorted(found)]

    def two_point(self, split: str | None, longest: int | None, level: float, seed: int) -> TwoPoint:
        """The two-point information of the documents, in the tokens that were measured first."""
        corpus = self.first
        documents = (corpus.documents(split) if split else corpus.all_documents).once()
        channels = corpus.period if isinstance(corpus, ArrayCorpus) else 1
        reach = longest or min(MOST_PAIRS, int(documents.lengths.max()) // (2 * channels))
        return two_point(documents, corpus.vocabulary, reach, level, np.random.default_rng(seed), channels)

    def plans(self, wanted: Sequence[MeasurementSettings], models: Sequence[str]) -> list[Json]:
        """What each measurement would read, in numbers."""
        plans = []
        for settings in wanted:
            for model in models if settings.needs_scorer else [None]:
                check_model(model)
                numbers = plan(self.corpus(model), planned(settings, model), model == "oracle")
                if model:
                    numbers |= {"model": model, "training_tokens": self._scoring.tokens if model == "train" else 0}
                plans.append(numbers)
        return plans
