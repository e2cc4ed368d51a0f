"""Synthetic sources: exact information, exact Bayes loss, and documents that follow their law."""

from typing import Any

import numpy as np
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput


def test_information_equals_the_exact_values(truth: dict[str, Any]) -> None:
    for row in truth["santa_fe_truncated"]:
        corpus = open_corpus(f"santa-fe:beta={row['beta']},keys={row['keys']}")
        found = [corpus.information(2 * pairs) for pairs in row["pairs"]]
        np.testing.assert_allclose(found, row["mi_nats"], rtol=1e-9)


def test_documents_are_keys_and_constant_bits() -> None:
    corpus = open_corpus("santa-fe:beta=0.6,pairs=500,keys=50,documents=20")
    for document in corpus.all_documents:
        keys, bits = document[0::2].astype(int), document[1::2].astype(int)
        assert keys.max() < 50
        assert set(bits) <= {50, 51}
        assert all(len(set(bits[keys == key])) == 1 for key in set(keys))


def test_noise_looks_like_facts_and_cannot_be_foreseen() -> None:
    corpus: Any = open_corpus("santa-fe:beta=0.6,pairs=500,keys=50,documents=400,noise=0.5")
    assert corpus.vocabulary == 102
    tokens = np.stack([np.asarray(document) for document in corpus.all_documents]).astype(int)
    keys, bits = tokens[:, 0::2], tokens[:, 1::2]
    assert (keys >= 50).mean() == pytest.approx(0.5, abs=0.02)
    assert bits[keys == 50].mean() == pytest.approx(100.5, abs=0.1)
    for row in range(10):
        assert len(set(bits[row][keys[row] == 0])) == 1
        assert len(set(bits[row][keys[row] == 50])) == 2
    nats = corpus.bayes_nats(tokens)
    assert (nats[:, 1::2][keys >= 50] == np.log(2)).all()
    new = (nats[:, 1::2] > 0) & (keys < 50)
    assert new.sum(axis=1).mean() == pytest.approx(corpus.facts(1000), abs=0.3)
    quiet: Any = open_corpus("santa-fe:beta=0.6,pairs=500,keys=50,documents=40")
    assert corpus.information(1000) < quiet.information(1000)
    assert "noise" not in quiet.name


def test_keys_follow_their_power_law() -> None:
    corpus = open_corpus("santa-fe:beta=0.5,pairs=4096,keys=64,documents=64")
    counts = np.bincount(np.concatenate([d[0::2] for d in corpus.all_documents]), minlength=64)
    expected = corpus.key_probabilities * counts.sum()
    assert (((counts - expected) ** 2) / expected).sum() < 63 + 5 * np.sqrt(2 * 63)


def test_the_bayes_loss_is_zero_on_a_seen_fact_and_one_bit_on_a_new_one() -> None:
    corpus = open_corpus("santa-fe:beta=0.5,keys=8,pairs=10,documents=10")
    window = np.array([[3, 8, 5, 9, 3, 8, 3]])
    nats = corpus.bayes_nats(window)[0]
    np.testing.assert_allclose(nats[1::2], [np.log(2), np.log(2), 0.0])
    np.testing.assert_allclose(nats[0], -np.log(corpus.key_probabilities[3]))


def test_documents_do_not_depend_on_how_many_there_are() -> None:
    few, many = (open_corpus(f"santa-fe:beta=0.5,documents={n}") for n in (10, 20))
    np.testing.assert_array_equal(few.all_documents[3], many.all_documents[3])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("santa-fe:", "beta: field required"),
        ("santa-fe:beta=1.0", "beta: input should be less than 1"),
        ("santa-fe:beta=0", "beta: input should be greater than 0"),
        ("santa-fe:beta=x", "beta: must be a number, found 'x'"),
        ("santa-fe:beta=0.5,pair=3", "unknown key 'pair'; did you mean 'pairs'"),
    ],
)
def test_bad_options_are_named(spec: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        open_corpus(spec)


def test_information_of_half_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        open_corpus("santa-fe:beta=0.5").information(3)


def test_a_fact_of_several_bits_counts_as_often() -> None:
    one, four = (open_corpus(f"santa-fe:beta=0.5,keys=64,pairs=64,documents=10,bits={bits}") for bits in (1, 4))
    assert four.information(128) == pytest.approx(4 * one.information(128))
    assert four.vocabulary == 64 + 16
    window = four.all_documents[0][:64].astype(np.int64)[None]
    assert set(np.round(four.bayes_nats(window)[0, 1::2] / np.log(2), 6)) <= {0.0, 4.0}


def test_a_contradicted_fact_is_impossible() -> None:
    corpus = open_corpus("santa-fe:beta=0.5,keys=8,pairs=10,documents=10")
    assert np.isinf(corpus.bayes_nats(np.array([[3, 8, 3, 9]]))[0, 3])


def test_gaussian_sources_know_their_information(truth: dict[str, Any]) -> None:
    for row in truth["arfima"]:
        corpus = open_corpus(f"arfima:d={row['d']}")
        np.testing.assert_allclose([corpus.information(n) for n in row["n"]], row["mi_nats"], rtol=1e-6)
    tree, exact = open_corpus("tree-gaussian"), truth["tree_gaussian"]
    found = [tree.information(length // 2) for length in exact["length"][:6]]
    np.testing.assert_allclose(found, exact["mi_nats"][:6], rtol=1e-6)


@pytest.mark.parametrize(("branching", "copies", "levels"), [(2, 1, 8), (4, 2, 5), (6, 5, 3), (8, 3, 4)])
def test_a_trees_information_grows_with_its_copies(branching: int, copies: int, levels: int) -> None:
    tree = open_corpus(f"tree-gaussian:branching={branching},copies={copies},levels={levels}")
    nats = [tree.information(branching**level // 2) for level in range(1, levels + 1)]
    np.testing.assert_allclose(np.array(nats[1:]) / nats[:-1], copies, rtol=1e-6)


@pytest.mark.parametrize("spec", ["arfima:d=0.4,length=64,documents=4000", "tree-gaussian:levels=3,documents=4000"])
def test_gaussian_documents_have_the_covariance_that_is_said(spec: str) -> None:
    corpus = open_corpus(spec)
    rows = np.stack([d for d in corpus.values if len(d) == 64]).astype(np.float64)
    np.testing.assert_allclose(rows.T @ rows / len(rows), corpus.covariance(64), atol=6 / np.sqrt(len(rows)))


def test_a_gaussian_predictor_is_the_exact_density() -> None:
    from scipy.stats import multivariate_normal

    corpus = open_corpus("arfima:d=0.3,length=64,documents=10")
    rows = np.stack(list(corpus.values))[:, :16].astype(np.float64)
    exact = -multivariate_normal(np.zeros(16), corpus.covariance(16)).logpdf(rows)
    np.testing.assert_allclose(corpus.bayes_nats(rows).sum(axis=1), exact, rtol=1e-9)


def test_a_markov_chain_stays_as_it_says(truth: dict[str, Any]) -> None:
    for row in truth["markov"]:
        corpus = open_corpus(f"markov:stay={row['stay']}")
        assert [corpus.information(n) for n in (1, 1000)] == pytest.approx([row["mi_nats_any_length"]] * 2)
    corpus = open_corpus("markov:stay=0.7,states=3,documents=64")
    tokens = np.stack(list(corpus.all_documents)).astype(np.int64)
    assert np.mean(tokens[:, 1:] == tokens[:, :-1]) == pytest.approx(0.7, abs=0.005)
    assert np.bincount(tokens.ravel()) / tokens.size == pytest.approx([1 / 3] * 3, abs=0.01)
    np.testing.assert_allclose(corpus.bayes_nats(np.array([[0, 0, 2]])), -np.log([[1 / 3, 0.7, 0.15]]))


def test_a_copy_repeats_itself_and_independent_tokens_do_not() -> None:
    corpus = open_corpus("copy:levels=2")
    for document in corpus.all_documents:
        np.testing.assert_array_equal(*np.split(document, 2))
    assert corpus.information(16) == pytest.approx(16 * np.log(256))
    assert np.isinf(corpus.bayes_nats(np.arange(32)[None])).sum() == 16
    assert open_corpus("iid:").information(100) == 0.0


def test_every_source_has_a_name_that_opens_it_again() -> None:
    for kind in ("santa-fe:beta=0.5", "tree-gaussian", "arfima", "markov", "iid", "copy"):
        corpus = open_corpus(kind)
        assert open_corpus(corpus.name).fingerprint == corpus.fingerprint
