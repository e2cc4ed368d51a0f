"""Studies with `start` whose requirement the model itself measures."""

from pathlib import Path

import pytest

from l2m_design.search.demand import measured_demand
from tests.search.adopted import study

pytestmark = pytest.mark.usefixtures("one_store")

MEASURE = "demand={model: start, measure: {estimator: profile, shortest: 4, longest: 64, windows: 8, split: train}}"


def test_the_model_measures_the_corpus_in_its_own_tokens(place: Path) -> None:
    work = study(place, MEASURE, "enforce=[]", "budgets=[0.7]", "correction={random_plans: 0, trials: 1}")
    asked = work.settings.demand
    assert asked
    assert asked.measure
    assert asked.model == work.settings.start
    found = work.run()
    law, measurement = measured_demand(work.corpus, asked.measure, str(place / "model"), "cpu")
    assert found.demand
    assert found.demand["law"] == law.plain()
    assert found.demand["measurement"]["estimator"].startswith("profile (")
    assert found.demand["measurement"]["tokens_scored"] == measurement["tokens_scored"]
    assert found.demand["measurement"]["bytes_per_token"] == measurement["bytes_per_token"]
