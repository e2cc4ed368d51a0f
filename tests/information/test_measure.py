"""One call from a corpus to its law, on sources whose answers are exact."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput
from l2m_design.information import Measurement, MeasurementSettings, measure
from l2m_design.information.scores import OracleScorer, Scores

KEYS = {0.3: 4096, 0.5: 100_000, 0.7: 1_000_000}
Measured = Callable[..., Measurement]


def spreads(found: Measurement) -> np.ndarray:
    """Standard errors of the points, from their intervals."""
    return np.array([(e.high - e.low) / (4 if e.level == 0.95 else 5.2) for e in found.interval])


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.7])
def test_the_oracle_finds_the_exponent_and_its_interval_covers_it(
    measured: Measured, beta: float, truth: dict[str, Any]
) -> None:
    """The exponent of the exact infinite source; so many keys that truncating them does not show.

    A 99% interval; how often that of 95% covers is counted over many seeds in benchmarks/coverage.py.
    """
    found = measured(f"santa-fe:beta={beta},pairs=8192,keys={KEYS[beta]},documents=512", windows=1024, level=0.99)
    assert found.beta is not None
    assert abs(found.beta.value - beta) <= 0.02
    assert found.beta.low <= beta <= found.beta.high
    exact = next(row for row in truth["santa_fe"] if row["beta"] == beta)
    expected = dict(zip(exact["pairs"], exact["mi_nats"], strict=True))
    wanted = np.array([expected[n // 2] for n in found.curve.lengths])
    assert (np.abs(found.curve.mean() - wanted) < 4 * spreads(found) + 0.01 * wanted).all()


def test_a_tree_of_gaussians_grows_as_its_branching_says(measured: Measured, truth: dict[str, Any]) -> None:
    found = measured("tree-gaussian:documents=2048")
    assert found.beta is not None
    assert found.beta.value == pytest.approx(truth["tree_gaussian"]["beta"], abs=0.01)
    assert found.curve.lengths.tolist() == [2 * 4**k for k in range(6)]


@pytest.mark.parametrize("estimator", ["profile", "gaussian"])
def test_power_law_correlations_are_no_power_law_of_information(measured: Measured, estimator: str) -> None:
    found = measured("arfima:d=0.4,length=2048", estimator=estimator, shortest=8, longest=256)
    assert found.beta is None
    assert found.plain()["preferred_law"] == "logarithm"
    exact = np.array([open_corpus("arfima:d=0.4").information(int(n)) for n in found.curve.lengths])
    assert (np.abs(found.curve.mean() - exact) < 4 * spreads(found)).all()


@pytest.mark.parametrize(
    ("spec", "nats"), [("markov:stay=0.9", 0.3680642), ("markov:stay=0.75", 0.1308120), ("iid", 0)]
)
def test_a_finite_law_is_told_so(measured: Measured, spec: str, nats: float) -> None:
    found = measured(spec, shortest=16)
    assert found.beta is None
    assert found.fit.preferred == "constant"
    rows = found.curve.nats.mean(axis=1)
    nats = open_corpus(spec).information(16)
    assert abs(rows.mean() - nats) <= 3 * rows.std(ddof=1) / np.sqrt(len(rows)) + 1e-9


def test_a_copy_is_a_volume_law(measured: Measured) -> None:
    found = measured("copy")
    assert found.beta is not None
    assert found.beta.value == pytest.approx(1.0, abs=1e-3)
    assert found.curve.mean() == pytest.approx([n * np.log(256) for n in found.curve.lengths])


def test_vclub_is_too_large_by_the_known_factor(measured: Measured, truth: dict[str, Any]) -> None:
    found = measured("tree-gaussian:documents=2048,levels=5", estimator="vclub")
    exact = np.array(truth["tree_gaussian"]["mi_nats"][:5]) * truth["tree_gaussian"]["vclub_over_mi_with_exact_density"]
    assert (np.abs(found.curve.mean() - exact) < 4 * spreads(found)).all()


def test_direct_is_the_profile_read_at_one_place(measured: Measured) -> None:
    spec = "santa-fe:beta=0.6,pairs=1024,keys=2000,documents=64"
    direct = measured(spec, estimator="direct", shortest=64)
    profile = measured(spec, spots=1, shortest=64)
    np.testing.assert_allclose(direct.curve.nats, profile.curve.nats)


def test_another_document_costs_variance_and_changes_nothing_else(measured: Measured) -> None:
    spec = "tree-gaussian:documents=1024,levels=5"
    same, other = (measured(spec, estimator="direct", pairing=pairing) for pairing in ("same", "other"))
    assert (np.abs(same.curve.mean() - other.curve.mean()) < 5 * (spreads(same) + spreads(other))).all()
    assert (spreads(other)[1:] > 1.8 * spreads(same)[1:]).all()


def test_the_plain_profile_is_the_noisy_one(measured: Measured) -> None:
    spec = "santa-fe:beta=0.6,pairs=1024,keys=2000,documents=128"
    plain, paired = (measured(spec, pairing=pairing, shortest=64) for pairing in ("none", "same"))
    assert (spreads(plain) > 3 * spreads(paired)).all()
    assert (np.abs(plain.curve.mean() - paired.curve.mean()) < 5 * spreads(plain)).all()


def test_the_published_correction_shifts_every_length_alike(measured: Measured) -> None:
    spec = "markov:stay=0.9,documents=64"
    settings = {"estimator": "direct", "shortest": 16, "replicates": 100}
    none, paper = (measured(spec, bigram_correction=kind, **settings) for kind in ("none", "paper"))
    shift = paper.curve.mean() - none.curve.mean()
    np.testing.assert_allclose(shift, shift[0])
    assert shift[0] == pytest.approx(0.0, abs=0.02)  # the oracle knows its first two tokens


def test_compression_measures_real_text() -> None:
    found = measure(open_corpus("stdlib"), MeasurementSettings(windows=32, replicates=200))
    assert found.curve.lengths.tolist() == [128 * 2**j for j in range(7)]
    assert (np.diff(found.curve.mean()) > 0).all()
    assert found.beta is not None
    assert 0.5 < found.beta.value < 0.9
    assert any("neither a lower nor an upper" in note for note in found.notes)
    assert found.compression is not None
    learnt, words = (control.mean() for control in (found.compression.learnt, found.compression.words))
    assert (learnt < 0.3 * found.curve.mean()).all()  # the language was known
    assert (words[:4] < found.curve.mean()[:4]).all()  # order tells


def test_arrays_are_measured_in_time_steps(tmp_path: Any, measured: Measured) -> None:
    """Two channels: one an autoregression, which alone has information, the other noise."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 600, 2))
    values = noise.copy()
    for t in range(1, 600):
        values[:, t, 0] = 0.8 * values[:, t - 1, 0] + 0.6 * noise[:, t, 0]
    np.save(tmp_path / "x.npy", values[:, 100:])
    found = measured(str(tmp_path / "x.npy"), estimator="gaussian", shortest=2, longest=32)
    assert found.curve.lengths.tolist() == [2, 4, 8, 16, 32]
    assert found.beta is None
    exact = -0.5 * np.log(1 - 0.8**2)
    assert (np.abs(found.curve.mean() - exact) < 4 * spreads(found)).all()


@pytest.mark.parametrize("shape", [(1, 20_000), (10, 4000), (64, 512), (300, 100)])
def test_noise_has_no_gaussian_information_however_it_is_cut(tmp_path: Any, measured: Measured, shape: Any) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=shape))
    found = measured(str(tmp_path / "x.npy"), estimator="gaussian", shortest=1)
    assert found.beta is None
    assert found.fit.preferred == "constant"
    assert (np.abs(found.curve.mean()) < 4 * spreads(found) + 1e-3).all()


def test_a_covariance_that_must_be_shrunk_is_told(tmp_path: Any, measured: Measured) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(100, 300)))
    enough = measured(str(tmp_path / "x.npy"), estimator="gaussian", shortest=1)
    assert not any("fewer than twice" in note for note in enough.notes)
    long = measured(str(tmp_path / "x.npy"), estimator="gaussian", shortest=1, longest=64)
    assert any("at n = [64]: left out" in note for note in long.notes)
    assert long.curve.lengths[-1] == 32
    only = measured(str(tmp_path / "x.npy"), estimator="gaussian", shortest=4, longest=64)
    assert any("at n = [64]: their covariance was shrunk" in note for note in only.notes)


def test_a_model_that_looks_back_little_is_told() -> None:
    class Model(OracleScorer):
        exact = False

    def notes(spec: str) -> str:
        corpus = open_corpus(spec)
        asked = MeasurementSettings(estimator="profile", shortest=128, replicates=100, control="none")
        return " ".join(measure(corpus, asked, Scores(corpus.all_documents, Model(corpus))).notes)

    assert "does not fall with context" in notes("markov:stay=0.6")
    assert "the model's loss" not in notes("santa-fe:beta=0.7,pairs=2048,keys=100000,documents=256")


def test_what_a_fit_leaves_in_doubt_is_told(tmp_path: Any, measured: Measured) -> None:
    (tmp_path / "same.txt").write_text("a" * 100_000)
    same = measured(str(tmp_path / "same.txt"), estimator="compression", windows=32, longest=2048)
    assert same.beta is None or any("no law fits" in note or "bound" in note for note in same.notes)


@pytest.mark.parametrize("size", [700, 10_000])
def test_a_single_short_text_is_measured_or_refused(tmp_path: Any, measured: Measured, size: int) -> None:
    (tmp_path / "one.txt").write_bytes(b"".join(bytes(d) for d in open_corpus("stdlib").all_documents)[:size])
    if size < 1000:
        with pytest.raises(BadInput, match="a law needs 5"):
            measured(str(tmp_path / "one.txt"), estimator="compression")
        return
    found = measured(str(tmp_path / "one.txt"), estimator="compression")
    assert any("parts of them were" in note for note in found.notes)
    with pytest.raises(BadInput, match="too few to prime the compressor"):
        measured(str(tmp_path / "one.txt"), estimator="compression", longest=2048)


def test_few_documents_are_told(measured: Measured) -> None:
    notes = measured("markov:stay=0.6,documents=30", estimator="compression").notes
    assert any("everything depends on 15" in note for note in notes)


def test_the_same_seed_gives_the_same_numbers(measured: Measured) -> None:
    spec = "santa-fe:beta=0.5,pairs=512,keys=500,documents=64"
    one, two = (measured(spec, shortest=16, replicates=200).plain() for _ in range(2))
    assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_plain_holds_the_promised_keys(measured: Measured) -> None:
    plain = measured("santa-fe:beta=0.5,pairs=512,keys=500,documents=64", shortest=16).plain()
    promised = {"beta", "prefactor_nats", "lengths", "mi_nats", "mi_low", "mi_high", "local_slopes", "estimator",
                "preferred_law", "documents", "tokens_scored", "seconds", "corpus_fingerprint"}  # fmt: skip
    assert promised <= set(plain)
    assert set(plain["beta"]) == {"value", "low", "high", "level"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shortest": 1024}, "a law needs 5"),
        ({"longest": 100_000}, "no document is as long as the required"),
        ({"shortest": 63}, "must be a multiple of 2"),
        ({"estimator": "gaussian"}, "needs real values"),
    ],
)
def test_what_does_not_fit_is_bad_input(measured: Measured, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        measured("santa-fe:beta=0.5,pairs=512,keys=500,documents=64", **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"estimator": "profile", "pairing": "other"}, "is not allowed for profile"),
        ({"estimator": "compression", "bigram_correction": "paper"}, "is allowed for profile and direct"),
        ({"estimator": "profile", "pairing": "none", "bigram_correction": "paper"}, "with pairing same or other"),
    ],
)
def test_options_that_an_estimator_does_not_know_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        MeasurementSettings.parse(settings, "estimate")
