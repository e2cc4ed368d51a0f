"""Where a study's demand comes from: measured on its corpus, or given."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l2m_design.condition import Demand
from l2m_design.corpus import Corpus
from l2m_design.corpus.text import TextCorpus
from l2m_design.corpus.tokenizers import Bytes
from l2m_design.errors import BadInput
from l2m_design.information import Measurement, MeasurementSettings, measure
from l2m_design.information.measured import Measured
from l2m_design.laws import PowerLaw
from l2m_design.measuring.scorer import open_scores, planned
from l2m_design.search.settings import DemandSettings
from l2m_design.settings import Json
from l2m_design.terms import Terms

Progress = Callable[[str, int, int], None]


def measured_demand(
    corpus: Corpus,
    settings: MeasurementSettings,
    model: str | None,
    device: str = "auto",
    on_progress: Progress = lambda what, done, total: None,
) -> tuple[PowerLaw, Json]:
    """The law of a corpus in its own tokens, and its measurement, JSON-ready.

    The compressor reads text as bytes, whatever the corpus' tokenizer: lengths are then counted in tokens, by the bytes
    that a token holds on average. Raises BadInput where vocabulary explains what was measured.
    """
    if settings.estimator != "compression" or not isinstance(corpus, TextCorpus) or isinstance(corpus.tokenizer, Bytes):
        found = measured(corpus, settings, model, device, on_progress)
        return measured_law(found), found.plain()
    text = corpus.as_bytes
    found = measured(text, settings, model, device, on_progress)
    unit = corpus.bytes_per_token
    kept = Measured.of_plain(found.plain())
    law = measured_law(found).counted_in(unit)
    note = f"measured on bytes and converted: a token has {unit:.2f} bytes on average"
    in_tokens = replace(
        kept,
        lengths=[round(n / unit, 1) for n in kept.lengths],
        prefactor_nats=law.prefactor,
        offset_nats=law.offset,
        law=law,
        required=law,
        unit="tokens",
        bytes_per_token=unit,
        notes=[*kept.notes, note],
    )
    return law, in_tokens.plain()


def measured(
    corpus: Corpus,
    settings: MeasurementSettings,
    model: str | None,
    device: str = "auto",
    on_progress: Progress = lambda what, done, total: None,
) -> Measurement:
    """Measure a corpus, by a model where the estimator needs one."""
    settings = planned(settings, model)

    def on_window(done: int, total: int) -> None:
        on_progress("pieces of windows", done, total)

    if model is None:
        return measure(corpus, settings, on_progress=on_window)
    with open_scores(corpus, settings, model, device, on_progress=on_progress) as scores:
        return measure(corpus, settings, scores, on_window)


def measured_law(measurement: Measurement) -> PowerLaw:
    """The law to hold architectures against. Raises BadInput where the amount is a matter of vocabulary alone."""
    if measurement.required is None:
        raise BadInput(
            "demand: with words shuffled the halves of these documents still share at least three quarters of the "
            "information, so the growth comes from vocabulary and beta is not known; set demand.beta yourself, or "
            "measure with a model"
        )
    return measurement.required


def given_law(settings: DemandSettings, bytes_per_token: float | None = 1.0) -> PowerLaw:
    """The law that a study or a command gives: exact, or with the given interval of beta, n counted in tokens.

    bytes_per_token: of the corpus, for a law that counts bytes. Raises BadInput where its tokens are no text.
    """
    assert settings.beta is not None
    if settings.unit == "bytes" and bytes_per_token is None:
        raise BadInput("demand.unit: the tokens of this corpus are not text, so they have no size in bytes")
    prefactor = settings.prefactor or 1.0
    draws = None
    if settings.beta_interval:
        draws = np.array([[prefactor, beta, 0.0] for beta in settings.beta_interval])
    law = PowerLaw(prefactor, settings.beta, draws=draws, level=1.0 if draws is not None else 0.95)
    return law.counted_in(bytes_per_token or 1.0) if settings.unit == "bytes" else law


def law_of(settings: DemandSettings, corpus: Corpus) -> PowerLaw:
    """The law of a given beta, in the corpus' tokens. Raises BadInput where the settings ask for a measurement."""
    if settings.beta is None:
        raise BadInput("demand: cannot be measured here; give the law, as demand={beta: 0.7, prefactor: 5}")
    return given_law(settings, corpus.bytes_per_token if settings.unit == "bytes" else None)


def demand_of(law: PowerLaw, settings: DemandSettings, terms: Terms) -> Demand:
    """The demand of a law; without a prefactor there is no level to judge."""
    return Demand(law, terms, has_level=settings.measure is not None or settings.prefactor is not None)
