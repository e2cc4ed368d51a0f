"""The parts of estimators: codes, entropies, two-point information, points."""

from dataclasses import replace

import numpy as np
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.corpus.windows import spread_windows
from l2m_design.errors import BadInput
from l2m_design.information import MeasurementSettings, two_point
from l2m_design.information.control import code_nats, controlled, halves_nats, one_spot
from l2m_design.information.direct import other_documents
from l2m_design.information.entropy import grassberger
from l2m_design.information.plan import planned_tokens
from l2m_design.information.profile import score_points
from l2m_design.information.scores import OracleScorer, Scores
from l2m_design.information.split_points import SplitPoints, spread_points
from l2m_design.information.vclub import vclub_curve


def test_independent_text_shares_nothing_and_a_copy_shares_all() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, 256, 4096, dtype=np.uint8).tobytes() for _ in range(2))
    assert abs(halves_nats(x, y)) < 0.02 * code_nats(x)
    assert halves_nats(x, x) > 0.9 * code_nats(x)
    assert code_nats(b"") == 0.0


def test_random_bytes_cost_their_entropy() -> None:
    data = np.random.default_rng(0).integers(0, 256, 20_000, dtype=np.uint8).tobytes()
    assert code_nats(data) == pytest.approx(20_000 * np.log(256), rel=0.03)


def test_entropy_from_few_samples_is_nearly_free_of_bias() -> None:
    rng = np.random.default_rng(0)
    counts = [np.bincount(rng.integers(0, 64, 128), minlength=64) for _ in range(400)]
    naive = np.mean([-(c[c > 0] / 128 * np.log(c[c > 0] / 128)).sum() for c in counts])
    assert naive < np.log(64) - 0.2
    assert np.mean([grassberger(c) for c in counts]) == pytest.approx(np.log(64), abs=0.02)


def test_entropy_does_not_depend_on_how_counts_are_ordered() -> None:
    assert grassberger(np.array([3, 0, 5, 1])) == pytest.approx(grassberger(np.array([5, 3, 1])))


def test_two_point_information_of_a_chain_is_exact() -> None:
    """After d steps the chain stays with probability (1 + (2 stay - 1)^d) / 2."""
    corpus = open_corpus("markov:stay=0.9,documents=200")
    found = two_point(corpus.all_documents, 2, 16, 0.95, np.random.default_rng(0))
    stay = (1 + 0.8 ** found.curve.lengths.astype(float)) / 2
    exact = np.log(2) + stay * np.log(stay) + (1 - stay) * np.log(1 - stay)
    spread = np.array([(e.high - e.low) / 4 for e in found.interval])
    assert (np.abs(found.curve.mean() - exact) < 4 * spread + 1e-5).all()


def test_two_point_information_of_nothing_has_no_exponent() -> None:
    corpus = open_corpus("iid:vocabulary=16,documents=50")
    assert two_point(corpus.all_documents, 16, 256, 0.95, np.random.default_rng(0)).alpha is None


def test_two_point_information_needs_room() -> None:
    corpus = open_corpus("iid:documents=10,length=64")
    with pytest.raises(BadInput, match="no document is longer than 64"):
        two_point(corpus.all_documents, 256, 64, 0.95, np.random.default_rng(0))


def test_places_lie_in_their_windows_and_share_what_is_scored() -> None:
    corpus = open_corpus("iid:documents=20,length=2000")
    windows = spread_windows(corpus.all_documents, 512, 30, np.random.default_rng(0), "iid")
    points = spread_points(windows, np.array([16, 32, 64, 128, 256]), spots=4)
    assert np.bincount(points.n)[[16, 32, 64, 128, 256]].tolist() == [120, 120, 120, 60, 30]
    start = windows.documents.spans[windows.document, 0] + windows.start
    offset = points.begin - start[points.window]
    assert (offset >= 0).all()
    assert (offset + 2 * points.n <= 512).all()
    assert (offset % (2 * points.n) == 0).all()
    scores = Scores(corpus.all_documents, OracleScorer(corpus))
    score_points(points, scores)
    # all of the window, then each Y alone: N for n = 256, 128 and 64, half of it for 32, a quarter for 16
    assert scores.tokens_asked == 30 * (512 + 256 + 256 + 256 + 128 + 64)
    assert scores.tokens_asked == planned_tokens(points, MeasurementSettings(estimator="profile"))


def test_windows_of_one_document_are_spread_over_it() -> None:
    corpus = open_corpus("iid:documents=10,length=4096")
    windows = spread_windows(corpus.all_documents, 256, 80, np.random.default_rng(0), "iid")
    for document in range(10):
        starts = np.sort(windows.start[windows.document == document])
        assert (np.floor(starts / (4096 - 255) * 8) == np.arange(8)).all()


def test_few_documents_are_not_resampled_but_their_windows_are() -> None:
    few, many = (open_corpus(f"iid:documents={count},length=600") for count in (10, 40))
    units = []
    for corpus in (few, many):
        documents = corpus.all_documents.chosen(np.arange(0, len(corpus.all_documents), 2))
        windows = spread_windows(documents, 64, 400, np.random.default_rng(0), "iid")
        points = spread_points(windows, np.array([32]), spots=1)
        curve = points.curve(np.arange(len(points), dtype=float), "test")
        units.append(curve.unit)
        assert len(curve.nats) <= (len(windows.documents) if curve.unit == "documents" else 8 * 600 // 64 + 8)
    assert units == ["stretches of documents", "documents"]


def test_pairs_of_other_documents_never_share_one() -> None:
    corpus = open_corpus("iid:documents=12,length=600")
    windows = spread_windows(corpus.all_documents, 64, 100, np.random.default_rng(0), "iid")
    points = spread_points(windows, np.array([16, 32]), spots=1)
    mine, other = other_documents(points)
    assert (points.document[mine] != points.document[other]).all()
    assert (points.n[mine] == points.n[other]).all()
    assert len(np.unique(np.concatenate([mine, other]))) == 2 * len(mine) == 200
    one = corpus.all_documents.chosen(np.array([0]))
    alone = spread_points(spread_windows(one, 64, 8, np.random.default_rng(0), "iid"), np.array([32]), spots=1)
    with pytest.raises(BadInput, match="several documents"):
        other_documents(alone)


def test_the_plan_counts_what_vclub_asks() -> None:
    corpus = open_corpus("markov:documents=20,length=600")
    points = spread_points(
        spread_windows(corpus.all_documents, 128, 30, np.random.default_rng(0), "iid"), np.array([16, 32, 64]), spots=1
    )
    scores = Scores(corpus.all_documents, OracleScorer(corpus))
    vclub_curve(points, scores)
    assert scores.tokens_asked == planned_tokens(points, MeasurementSettings(estimator="vclub"))


def test_a_control_variate_keeps_the_mean_and_takes_off_variance() -> None:
    """A curve that is twice the compressor's nats and noise: the compressor's part is known from many more windows."""
    corpus, rng, lengths = open_corpus("stdlib"), np.random.default_rng(0), np.array([128, 256, 512])
    documents = replace(corpus.all_documents, families=None)

    def points(count: int) -> SplitPoints:
        windows = spread_windows(documents, 1024, count, rng, corpus.name)
        return spread_points(windows, lengths, 2)

    few, many = points(60), points(1200)
    nats = [halves_nats(bytes(x[: len(x) // 2]), bytes(x[len(x) // 2 :])) for x in _texts(few)]
    curve = few.curve(2 * np.array(nats) + rng.normal(size=len(few)), "test")
    found = controlled(curve, few, one_spot(many, rng), 256)
    explained = found.explained()
    assert explained is not None
    assert (explained > 0.95).all()
    plain, better = (c.resampled(500, np.random.default_rng(1)) for c in (curve, found))
    assert (better.std(axis=0) < 0.6 * plain.std(axis=0)).all()
    assert (np.abs(found.mean() - curve.mean()) < 3 * plain.std(axis=0)).all()


def _texts(points: SplitPoints) -> list[np.ndarray]:
    tokens = points.documents.tokens
    return [np.asarray(tokens[b : b + 2 * n]) for b, n in zip(points.begin, points.n, strict=True)]


def test_one_spot_is_one_place_of_each_window_and_length() -> None:
    corpus, rng = open_corpus("iid:documents=20,length=2000"), np.random.default_rng(0)
    windows = spread_windows(corpus.all_documents, 512, 30, rng, "iid")
    points = spread_points(windows, np.array([16, 64, 256]), spots=4)
    one = one_spot(points, rng)
    assert len(one) == 30 * 3
    assert (np.diff(one.window) >= 0).all()
    assert set(zip(one.begin.tolist(), one.n.tolist(), strict=True)) <= set(
        zip(points.begin.tolist(), points.n.tolist(), strict=True)
    )
    offsets = one.begin[one.n == 16] - points.begin[:: len(points) // 30]
    assert len(set(offsets.tolist())) == 4
