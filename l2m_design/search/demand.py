"""Where a study's demand comes from: measured on its corpus, or given."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from l2m_design.condition import Demand, Terms
from l2m_design.corpus import Corpus
from l2m_design.errors import BadInput
from l2m_design.information import Measurement, MeasurementSettings, measure
from l2m_design.information.measure import doubling_lengths
from l2m_design.laws import PowerLaw
from l2m_design.search.settings import DemandSettings

if TYPE_CHECKING:
    from l2m_design.information.scores import Scorer

Progress = Callable[[str, int, int], None]
REFERENCE_TOKENS = 500_000
REFERENCE_LENGTHS = (32, 1024)


def measured(
    corpus: Corpus,
    settings: MeasurementSettings,
    model: str | None,
    device: str = "auto",
    tokens: int = REFERENCE_TOKENS,
    on_progress: Progress = lambda what, done, total: None,
) -> Measurement:
    """Measure a corpus, training a reference model first when asked; held-out documents are scored then.

    What needs torch is imported where it is needed: measuring by compression does not.
    """
    settings = planned(settings, model)
    scorer: Scorer | None = None
    if model == "oracle":
        from l2m_design.information.scores import OracleScorer

        scorer = OracleScorer(corpus)
    elif model == "train":
        from l2m_design.model.backends import pick_device
        from l2m_design.training.reference import reference_recipe, train_reference

        assert settings.split is not None
        longest = int(doubling_lengths(settings, corpus.documents(settings.split), corpus)[-1])
        recipe = reference_recipe(longest, tokens, settings.seed)
        scorer = train_reference(
            corpus,
            recipe,
            pick_device(device),
            lambda done, total: on_progress("reference model", done, total),
        )
    return measure(corpus, settings, scorer, lambda done, total: on_progress("windows", done, total))


def planned(settings: MeasurementSettings, model: str | None) -> MeasurementSettings:
    """The settings with what a reference model needs: held-out documents, lengths that it can be trained on."""
    if model != "train":
        return settings
    if settings.split == "train":
        raise BadInput("split: a reference model is trained on 'train'; allowed for scoring: validation, test")
    needed = {
        "split": settings.split or "test",
        "shortest": settings.shortest or REFERENCE_LENGTHS[0],
        "longest": settings.longest or REFERENCE_LENGTHS[1],
    }
    return settings.model_copy(update=needed)


def measured_law(measurement: Measurement) -> PowerLaw:
    """The law to hold architectures against. Raises BadInput when the data prefer a law without an exponent."""
    if measurement.beta is None:
        raise BadInput(
            f"demand: these data prefer the law '{measurement.fit.preferred}', which has no exponent; give a beta "
            "of your own in demand.beta, or measure other lengths"
        )
    return measurement.fit.law


def given_law(settings: DemandSettings) -> PowerLaw:
    """The law that a study or a command gives: exact, or with the given interval of beta."""
    assert settings.beta is not None
    prefactor = settings.prefactor or 1.0
    draws = None
    if settings.beta_interval:
        draws = np.array([[prefactor, beta, 0.0] for beta in settings.beta_interval])
    return PowerLaw(prefactor, settings.beta, draws=draws, level=1.0 if draws is not None else 0.95)


def demand_of(law: PowerLaw, settings: DemandSettings, terms: Terms) -> Demand:
    """The demand of a law; without a prefactor there is no level to judge."""
    return Demand(law, terms, has_level=settings.measure is not None or settings.prefactor is not None)
