"""One way to measure in tests: by the oracle where the estimator needs a model."""

from collections.abc import Callable
from typing import Any

import pytest

from l2m_design.corpus import open_corpus
from l2m_design.information import Measurement, MeasurementSettings, measure
from l2m_design.information.plan import documents_of
from l2m_design.information.scores import OracleScorer, Scores


@pytest.fixture
def measured() -> Callable[..., Measurement]:
    """measured(spec, estimator=..., ...): settings by name."""

    def run(spec: str, **settings: Any) -> Measurement:
        corpus, asked = open_corpus(spec), MeasurementSettings(**({"estimator": "profile"} | settings))
        if not asked.needs_scorer:
            return measure(corpus, asked)
        return measure(corpus, asked, Scores(documents_of(corpus, asked, values=True), OracleScorer(corpus)))

    return run
