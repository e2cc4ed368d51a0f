"""The Santa Fe process: exact information, exact Bayes loss."""

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
        ("santa-fe:beta=x", "beta: a number is expected, found 'x'"),
        ("santa-fe:beta=0.5,pair=3", "unknown key 'pair'; did you mean 'pairs'"),
    ],
)
def test_bad_options_are_named(spec: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        open_corpus(spec)


def test_information_of_half_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        open_corpus("santa-fe:beta=0.5").information(3)
