"""Estimates hold their value; curves resample whole documents."""

import numpy as np

from l2m_design.estimates import Curve, Estimate


def test_an_interval_is_that_of_its_draws_and_holds_its_value() -> None:
    draws = np.random.default_rng(0).normal(5.0, 1.0, 20_000)
    estimate = Estimate.of_draws(5.0, draws, 0.95)
    assert abs(estimate.low - 3.04) < 0.05
    assert abs(estimate.high - 6.96) < 0.05
    assert Estimate.of_draws(9.9, draws, 0.95).high == 9.9


def test_the_cluster_bootstrap_is_as_wide_as_the_documents_differ() -> None:
    rng = np.random.default_rng(0)
    by_document = rng.normal(10, 2, size=(400, 1))
    curve = Curve(np.array([4]), by_document, "test")
    spread = curve.resampled(2000, rng)[:, 0].std()
    assert abs(spread - 2 / 20) < 0.02


def test_lengths_move_together_because_documents_are_drawn_whole() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(10, 2, size=(100, 1))
    curve = Curve(np.array([4, 8]), np.hstack([shared, 2 * shared]), "test")
    draws = curve.resampled(500, rng)
    np.testing.assert_allclose(draws[:, 1], 2 * draws[:, 0])


def test_documents_too_short_for_a_length_do_not_count_there() -> None:
    curve = Curve(np.array([4, 8]), np.array([[1.0, np.nan], [3.0, 5.0]]), "test")
    np.testing.assert_allclose(curve.mean(), [2.0, 5.0])
