"""Estimates hold their value; curves resample whole documents."""

import numpy as np

from l2m_design.estimates import Curve, Estimate


def test_an_interval_always_holds_its_value() -> None:
    estimate = Estimate.of_draws(5.0, np.array([1.0, 2.0, 3.0]), 0.95)
    assert estimate.low <= estimate.value <= estimate.high


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
