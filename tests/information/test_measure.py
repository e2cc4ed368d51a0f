"""Estimators against exact sources."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.corpus.windows import spread_windows
from l2m_design.errors import BadInput
from l2m_design.information import MeasurementSettings, measure
from l2m_design.information.compression import code_nats, halves_nats
from l2m_design.information.profile import profile_curve
from l2m_design.information.scores import OracleScorer

KEYS = {0.3: 4096, 0.5: 100_000, 0.7: 1_000_000}


def oracle(spec: str, **settings: Any) -> Any:
    corpus = open_corpus(spec)
    return measure(corpus, MeasurementSettings(estimator="profile", **settings), OracleScorer(corpus))


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.7])
def test_the_oracle_finds_the_exponent_and_its_interval_covers_it(beta: float, truth: dict[str, Any]) -> None:
    """The exponent of the exact infinite source; so many keys that truncating them does not show."""
    spec = f"santa-fe:beta={beta},pairs=8192,keys={KEYS[beta]},documents=512"
    found = oracle(spec, shortest=128, windows=2048)
    assert abs(found.beta.value - beta) <= 0.02
    assert found.beta.low <= beta <= found.beta.high
    exact = next(row for row in truth["santa_fe"] if row["beta"] == beta)
    expected = dict(zip(exact["pairs"], exact["mi_nats"], strict=True))
    for n, estimate in zip(found.curve.lengths, found.interval, strict=True):
        spread = (estimate.high - estimate.low) / 4
        assert abs(estimate.value - expected[n // 2]) < 4 * spread + 0.01 * expected[n // 2]


def test_pairing_the_same_tokens_cuts_the_variance() -> None:
    """The plain profile subtracts different tokens, whose keys alone make it noisier."""
    corpus = open_corpus("santa-fe:beta=0.6,pairs=2048,keys=2000,documents=128")
    windows = spread_windows(corpus.all_documents, 2048, 256, np.random.default_rng(0), corpus.name, 2)
    paired, _ = profile_curve(windows, np.array([1024]), OracleScorer(corpus))
    losses = corpus.bayes_nats(windows.tokens())
    plain = losses[:, :1024].sum(axis=1) - losses[:, 1024:].sum(axis=1)
    assert paired.nats.std() < plain.std() / 4
    assert paired.mean()[0] == pytest.approx(plain.mean(), abs=4 * plain.std() / 16)


def test_the_profile_is_the_loss_by_position() -> None:
    corpus = open_corpus("santa-fe:beta=0.5,pairs=512,keys=500,documents=64")
    windows = spread_windows(corpus.all_documents, 256, 64, np.random.default_rng(0), corpus.name, 2)
    _, losses = profile_curve(windows, np.array([32, 128]), OracleScorer(corpus))
    np.testing.assert_allclose(losses, corpus.bayes_nats(windows.tokens()).mean(axis=0))


def test_independent_text_shares_nothing_and_a_copy_shares_all() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, 256, 4096, dtype=np.uint8).tobytes() for _ in range(2))
    assert abs(halves_nats(x, y)) < 0.02 * code_nats(x)
    assert halves_nats(x, x) > 0.9 * code_nats(x)
    assert code_nats(b"") == 0.0


def test_random_bytes_cost_their_entropy() -> None:
    data = np.random.default_rng(0).integers(0, 256, 20_000, dtype=np.uint8).tobytes()
    assert code_nats(data) == pytest.approx(20_000 * np.log(256), rel=0.03)


def test_compression_measures_real_text() -> None:
    found = measure(open_corpus("stdlib"), MeasurementSettings(windows=64, replicates=200))
    assert found.curve.lengths.tolist() == [128 * 2**j for j in range(7)]
    assert (np.diff(found.curve.mean()) > 0).all()
    assert found.beta is not None
    assert 0.5 < found.beta.value < 0.9


def test_wide_tokens_are_compressed_as_wide_bytes() -> None:
    corpus = open_corpus("santa-fe:beta=0.5,pairs=2048,keys=1000,documents=16")
    found = measure(corpus, MeasurementSettings(windows=16, shortest=64, replicates=100))
    assert np.isfinite(found.curve.nats).all()


def test_the_same_seed_gives_the_same_numbers() -> None:
    spec = "santa-fe:beta=0.5,pairs=512,keys=500,documents=64"
    one, two = (oracle(spec, shortest=16, replicates=200).plain() for _ in range(2))
    assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_plain_holds_the_promised_keys() -> None:
    plain = oracle("santa-fe:beta=0.5,pairs=512,keys=500,documents=64", shortest=16).plain()
    promised = {"beta", "prefactor_nats", "lengths", "mi_nats", "mi_low", "mi_high", "local_slopes", "estimator",
                "preferred_law", "documents", "tokens_scored", "seconds", "corpus_fingerprint"}  # fmt: skip
    assert promised <= set(plain)
    assert set(plain["beta"]) == {"value", "low", "high", "level"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shortest": 1024}, "a law needs 5"),
        ({"longest": 100_000}, "no document holds the asked"),
        ({"shortest": 63}, "must be a multiple of 2"),
    ],
)
def test_lengths_that_do_not_fit_are_bad_input(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        oracle("santa-fe:beta=0.5,pairs=512,keys=500,documents=64", **settings)


def test_the_oracle_needs_a_synthetic_source(text_folder: Path) -> None:
    with pytest.raises(BadInput, match="needs a synthetic source"):
        OracleScorer(open_corpus(str(text_folder)))
