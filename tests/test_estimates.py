"""Estimates hold their value; curves resample whole documents."""

import numpy as np
import pytest

from l2m_design.estimates import Covariate, Curve, Estimate, jackknife_rows


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


def coverage(rows: int, covariate: bool) -> float:
    """How often a 95% interval holds the mean, 400 times: log-normal Z, nats bent in it, noise."""
    held = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        here, there = rng.lognormal(size=(rows, 1)), rng.lognormal(size=(500, 1))
        nats = 3 * np.sqrt(here) + rng.normal(size=(rows, 1))
        truth = 3 * np.exp(0.125)
        control = Covariate(here, there) if covariate else None
        curve = Curve(np.array([4]), nats, "test", covariate=control)
        interval = curve.interval(300, 0.95, rng)[0]
        held += interval.low <= truth <= interval.high
    return held / 400


@pytest.mark.integration
def test_intervals_cover_with_few_rows_and_with_a_covariate() -> None:
    assert coverage(12, covariate=False) >= 0.91
    assert coverage(48, covariate=False) >= 0.92
    assert coverage(48, covariate=True) >= 0.90


def test_a_jackknife_has_the_estimates_mean_and_the_means_error() -> None:
    rng = np.random.default_rng(0)
    groups = rng.normal(5, 1, size=(20, 50))
    without = np.array([np.delete(groups, g, axis=0).mean() for g in range(20)])[:, None]
    rows = jackknife_rows(np.array([groups.mean()]), without)
    assert np.isclose(rows.mean(), groups.mean())
    assert np.isclose(rows.std(ddof=1), np.std(groups.mean(axis=1), ddof=1))
