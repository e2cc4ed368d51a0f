"""Which of several estimates the requirement is taken from."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from l2m_design.estimates import Curve
from l2m_design.information import Measurement, fit_curve
from l2m_design.information.views import deciding

LENGTHS = np.array([64, 128, 256, 512, 1024])


def view(estimator: str, nats: float, exponent: float = 0.6, **changed: Any) -> Measurement:
    """What an estimator found: A n^exponent, `nats` at n = 1024, in 40 documents."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((40, 1))
    curve = nats * (LENGTHS / 1024) ** exponent * (1 + 0.05 * (noise - noise.mean()))
    found = Curve(LENGTHS, curve, estimator)
    whole = Measurement(
        corpus_fingerprint="f",
        vocabulary=256,
        documents=40,
        curve=found,
        interval=found.interval(100, 0.95, rng),
        fit=fit_curve(found, 100, 0.95, rng),
        tokens_scored=1,
        seconds=1.0,
        losses=None,
        explained=None,
        compression=None,
        explained_by=None,
        notes=[],
    )
    return replace(whole, **changed)


def test_the_view_that_finds_most_is_taken_wherever_it_stands() -> None:
    views = [view("compression", 100.0), view("profile", 140.0), view("direct", 120.0)]
    assert deciding(views)[0] == 1
    assert "which finds most at n = 1024: 140 nats, 100 by compression, 120 by direct" in deciding(views)[1]
    assert deciding(views[::-1])[0] == 1


@pytest.mark.parametrize("explanation", ["vocabulary", "nothing"])
def test_what_controls_explain_no_model_may_call_order(explanation: str) -> None:
    views = [view("profile", 140.0), view("compression", 100.0, explained_by=explanation)]
    chosen, why = deciding(views)
    assert chosen == 1
    assert "controls explain" in why


def test_other_tokens_and_time_steps_do_not_compete() -> None:
    views = [view("compression", 100.0), view("profile", 900.0, vocabulary=49152), view("gaussian", 900.0)]
    chosen, why = deciding(views)
    assert chosen == 0
    assert "alone in its tokens" in why
