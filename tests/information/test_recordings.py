"""Gaussian information of recordings as people bring them: gains, baselines, drifts, tails, padded rows."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput
from l2m_design.information import Measurement

Measured = Callable[..., Measurement]
PHI = 0.9
EXACT = -0.5 * np.log(1 - PHI**2)  # of an autoregression, at every n
LENGTHS = {"shortest": 4, "longest": 64, "estimator": "gaussian", "replicates": 200}


def autoregression(shape: tuple[int, int], seed: int = 0, phi: float = PHI) -> np.ndarray:
    """[recordings, time] of variance 1, in equilibrium from the start."""
    noise = np.random.default_rng(seed).normal(size=shape) * np.sqrt(1 - phi**2)
    noise[:, 0] /= np.sqrt(1 - phi**2)
    return np.asarray(lfilter([1], [1, -phi], noise, axis=1))


@pytest.fixture
def found(tmp_path: Path, measured: Measured) -> Callable[..., Measurement]:
    """found(values, ...): measured from a file."""

    def run(values: np.ndarray, **settings: Any) -> Measurement:
        np.save(tmp_path / "x.npy", values)
        return measured(str(tmp_path / "x.npy"), **(LENGTHS | settings))

    return run


def is_exact(measurement: Measurement, nats: float = EXACT) -> bool:
    """Within four standard errors at every n, and no exponent."""
    errors = np.array([(e.high - e.low) / 4 for e in measurement.interval])
    return measurement.beta is None and bool((np.abs(measurement.curve.mean() - nats) < 4 * errors).all())


RNG = np.random.default_rng(7)
GAINS, BASELINES = np.exp(RNG.normal(size=(200, 1))), RNG.normal(0, 20, (200, 1))


@pytest.mark.parametrize(
    "changed",
    [lambda x: x, lambda x: x * GAINS, lambda x: x + BASELINES, lambda x: x * GAINS + BASELINES],
    ids=["as it is", "gains", "baselines", "both"],
)
@pytest.mark.parametrize("how", [None, "copula"])
def test_a_recording_may_have_a_gain_and_a_baseline(found: Any, changed: Any, how: str | None) -> None:
    measurement = found(changed(autoregression((200, 2048))), normalise=how)
    assert is_exact(measurement)
    assert measurement.fit.preferred == "constant"
    assert measurement.explained_by is None
    assert any("ranks" in note for note in measurement.notes)
    assert not any("not Gaussian" in note for note in measurement.notes)


def test_what_gains_do_is_seen_where_they_are_kept(found: Any) -> None:
    """The same rows with the Y of other recordings at the norm of their own tell as much, where 0 is true."""
    measurement = found(autoregression((200, 2048)) * GAINS, normalise="none")
    assert measurement.curve.mean()[-1] > 2 * EXACT
    assert measurement.explained_by == "other recordings"
    assert measurement.beta is None
    assert measurement.required is None
    assert "other recordings" in measurement.without_beta
    assert "Give `normalise` recording or copula, a smaller `longest`" in measurement.without_beta
    assert measurement.curve.mean() - measurement.other == pytest.approx(EXACT, abs=0.5)
    assert measurement.plain()["other_recordings_nats"][-1] > 1


@pytest.mark.parametrize(("how", "advice"), [("recording", "Give `normalise` copula, a sm"), ("copula", "Give a sm")])
def test_advice_names_no_normalisation_that_is_on(found: Any, how: str, advice: str) -> None:
    measurement = found(autoregression((40, 512)), normalise=how, longest=64)
    failed = dataclasses.replace(measurement, explained_by="other recordings")
    assert advice in failed.without_beta


def test_lengths_that_the_control_contradicts_are_left_out_while_others_remain(found: Any) -> None:
    gains = np.exp(np.random.default_rng(0).normal(0, 0.35, (200, 1)))
    measurement = found(autoregression((200, 2048)) * gains, normalise="none", shortest=1, longest=128)
    assert any("128] is left out: Y seems to share" in note for note in measurement.notes)
    assert measurement.curve.lengths.tolist()[:5] == [1, 2, 4, 8, 16]
    assert len(measurement.other) == len(measurement.curve.lengths) < 8
    assert measurement.explained_by is None
    assert is_exact(measurement)


def test_increasing_functions_leave_a_copula_as_it_is(found: Any) -> None:
    values = autoregression((200, 2048))
    plain, cubed = (found(x, normalise="copula") for x in (values, (values * GAINS) ** 3))
    np.testing.assert_allclose(cubed.curve.nats, plain.curve.nats, atol=1e-9)
    assert is_exact(cubed)
    raw = found(values**3)
    assert any("not Gaussian: excess kurtosis" in note and "`normalise` copula" in note for note in raw.notes)
    assert raw.curve.mean()[0] < 0.8 * EXACT


def test_memory_as_long_as_a_recording_is_no_baseline(found: Any) -> None:
    """Means of fractional noise differ by themselves: taken off, a logarithm would look like a constant."""
    source = open_corpus("arfima:d=0.4,length=2048,documents=300")
    values = np.array(list(source.value_documents(None)))
    exact = np.array([source.information(n) for n in (4, 8, 16, 32, 64)])
    kept = found(values)
    assert kept.fit.preferred == "logarithm"
    assert is_exact(kept, exact)
    moved = found(values + np.random.default_rng(0).normal(0, 5, (300, 1)))
    assert (moved.curve.mean() < exact - 0.05).all()
    assert any("which is too small" in note for note in moved.notes)


@pytest.mark.parametrize(
    "drifting",
    [
        np.cumsum(RNG.normal(size=(100, 2048)), axis=1),
        autoregression((100, 2048)) + np.linspace(0, 8, 2048),
        autoregression((100, 2048)) + np.linspace(-1, 1, 2048) * RNG.normal(0, 5, (100, 1)),
    ],
    ids=["random walk", "one trend", "a trend each"],
)
def test_levels_that_drift_have_no_exponent(found: Any, drifting: np.ndarray) -> None:
    measurement = found(drifting)
    assert measurement.explained_by == "drift"
    assert measurement.beta is None
    assert measurement.required is None
    assert any("levels drift" in note for note in measurement.notes)


def test_one_long_recording_is_told_that_it_drifts(found: Any) -> None:
    noise = np.random.default_rng(0).normal(size=(1, 40_000))
    assert any("levels drift" in note for note in found(np.cumsum(noise, axis=1)).notes)
    steady = found(autoregression((1, 40_000)))
    assert is_exact(steady)
    assert not any("levels drift" in note for note in steady.notes)


def test_volatility_with_memory_is_more_than_a_covariance_sees(found: Any) -> None:
    noise = np.random.default_rng(0).normal(size=(200, 2048))
    measurement = found(np.exp(autoregression((200, 2048), phi=0.98)) * noise, longest=64)
    assert any("volatility with memory" in note for note in measurement.notes)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_what_fills_rows_up_is_cut_off(found: Any, tmp_path: Path, fill: float) -> None:
    ends = np.random.default_rng(0).integers(512, 2048, (200, 1))
    padded = np.where(np.arange(2048) < ends, autoregression((200, 2048)), fill)
    assert is_exact(found(padded))
    corpus = open_corpus(str(tmp_path / "x.npy"))
    assert corpus.all_documents.lengths.tolist() == ends[:, 0].tolist()
    assert any("removed" in note for note in corpus.notes)


def test_channels_have_scales_of_their_own(found: Any) -> None:
    rng = np.random.default_rng(0)
    channels = np.stack([autoregression((300, 1024)), autoregression((300, 1024), 1, 0.5)], axis=-1)
    values = channels * np.exp(rng.normal(size=(300, 1, 2))) + rng.normal(0, 9, (300, 1, 2))
    assert is_exact(found(values, longest=64), EXACT - 0.5 * np.log(1 - 0.25))


def test_a_constant_channel_is_named_and_trees_are_no_recordings(found: Any, measured: Measured) -> None:
    values = np.stack([autoregression((50, 1024)), np.full((50, 1024), 5.0)], axis=-1)
    with pytest.raises(BadInput, match="document 0, channel 1 is constant"):
        found(values)
    with pytest.raises(BadInput, match="give `normalise` none"):
        measured("tree-gaussian", estimator="gaussian", normalise="recording")
    with pytest.raises(ValueError, match="normalise is allowed for gaussian"):
        measured("iid", estimator="compression", normalise="copula")
