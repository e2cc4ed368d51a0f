"""Which of several estimates the requirement is taken from."""

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.estimates import Curve
from l2m_design.information import Measurement, MeasurementSettings, fit_curve
from l2m_design.information.views import deciding

module = importlib.import_module("l2m_design.information.measure")

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
    said = "finds the most information at n = 1024 (140 nats, against 100 by compression, 120 by direct)"
    assert said in deciding(views)[1]
    assert deciding(views[::-1])[0] == 1


def test_what_shuffled_words_explain_no_model_may_call_order() -> None:
    views = [view("profile", 140.0), view("compression", 100.0, explained_by="vocabulary")]
    chosen, why = deciding(views)
    assert chosen == 1
    assert "what compression found comes from vocabulary" in why


def test_what_n_grams_do_not_see_a_model_may_and_a_bound_from_above_does_not_compete() -> None:
    views = [view("compression", 1.0, explained_by="nothing"), view("profile", 140.0), view("vclub", 900.0)]
    assert deciding(views)[0] == 1


def test_other_tokens_and_time_steps_do_not_compete() -> None:
    views = [view("compression", 100.0), view("profile", 900.0, vocabulary=49152), view("gaussian", 900.0)]
    chosen, why = deciding(views)
    assert chosen == 0
    assert "the only one with a requirement in these tokens" in why


def falling(share: float, noise: float = 0.02, nats: float = 100.0) -> Curve:
    """Twice 40 rows that grow to 512 tokens and then lose a share."""
    shape = np.array([0.4, 0.6, 0.8, 1.0, 1.0 - share])
    rows = np.random.default_rng(1).standard_normal((40, 5))
    return Curve(LENGTHS, nats * shape * (1 + noise * (rows - rows.mean(axis=0))), "compression")


@pytest.mark.parametrize(
    ("curve", "fallen"),
    [
        (falling(0.5), True),
        (falling(0.2), False),  # on planted repeats, which are known, the coder loses a seventh
        (falling(0.5, noise=3.0), False),  # chance
        (falling(0.9, nats=2.0), False),  # a nat or two, as constants do
    ],
)
def test_a_curve_that_falls_gives_no_law(curve: Curve, fallen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_by_compression", lambda task: module._Found(curve, 40, 1, []))
    corpus = open_corpus("iid:vocabulary=4,length=2048,documents=40")
    found = module.measure(corpus, MeasurementSettings(shortest=64, longest=1024))
    assert (found.explained_by == "a fall") == fallen
    assert (found.required is None) == fallen
    if fallen:
        assert found.beta is None
        assert "something is wrong with the input" in str(found.without_beta)
        assert any("I(n;n) falls with n" in note for note in found.notes)
