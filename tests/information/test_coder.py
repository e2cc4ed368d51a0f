"""The coder: counts equal those counted by hand, probabilities sum to one, nothing is found where nothing is."""

from collections import Counter

import numpy as np
import pytest

from l2m_design.information.coder import DocumentCoder, ladder, orders_of
from l2m_design.information.interpolation import fitted_weights, interpolated, level
from l2m_design.information.ngrams import Counts, Grams, Seen, seen_before

Tokens = np.ndarray


def seen_by_hand(history: list[list[int]], past: list[int], token: int, order: int) -> tuple[int, int, int]:
    """Times, hits and kinds of the last `order` tokens of the past in lists of tokens, one position at a time."""
    if order > len(past):
        return 0, 0, 0
    context = past[len(past) - order :]
    followers = Counter(
        text[i + order] for text in history for i in range(len(text) - order) if text[i : i + order] == context
    )
    return sum(followers.values()), followers[token], len(followers)


def all_seen(found: list[Seen], row: int, position: int) -> list[tuple[int, int, int]]:
    return [tuple(int(column[row, position]) for column in one) for one in found]  # type: ignore[misc]


def test_what_other_documents_show_is_what_is_counted_by_hand() -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 3, n) for n in (40, 1, 25)]
    rows, orders, start = rng.integers(0, 3, (2, 12)), (0, 1, 3, 5), 2
    found = Counts.of(documents, orders).seen(Grams(rows), start)
    history = [document.tolist() for document in documents]
    for row in range(2):
        for at in range(start, 12):
            past, token = rows[row, :at].tolist(), int(rows[row, at])
            expected = [seen_by_hand(history, past, token, order) for order in orders]
            assert all_seen(found, row, at - start) == expected


@pytest.mark.parametrize("cut", [0, 6])
def test_what_a_window_showed_before_is_what_is_counted_by_hand(cut: int) -> None:
    rows, orders, start = np.random.default_rng(1).integers(0, 3, (3, 14)), (0, 1, 2, 4, 20), 5
    found = seen_before(rows, orders, start, cut)
    for row in range(3):
        for at in range(start, 14):
            past, token = rows[row, :at].tolist(), int(rows[row, at])
            for one, order in zip(found, orders, strict=True):
                expected = seen_by_hand([past], past, token, order)
                if cut <= at < cut + order:
                    expected = (0, 0, 0)
                assert all_seen([one], row, at - start) == [expected]


def test_probabilities_of_all_tokens_sum_to_one() -> None:
    rng, vocabulary = np.random.default_rng(2), 5
    documents = [np.cumsum(rng.integers(0, 2, 400)) % vocabulary for _ in range(6)]
    couples = zip(documents[:3], documents[3:], strict=True)
    pairs = [(np.stack([d[:64], d[100:164]]), np.stack([e[:32], e[64:96]])) for d, e in couples]
    coder = DocumentCoder.primed(documents[3:], pairs, vocabulary)
    xy, other = documents[0][None, :20], documents[4][None, :10]
    shorter = coder.code(xy[:, :-1], other)
    every = [coder.code(np.concatenate([xy[:, :-1], [[token]]], axis=1), other) for token in range(vocabulary)]
    for role, nats in enumerate(shorter):
        together = sum(np.exp(-found[role][0]) for found in every)
        assert together == pytest.approx(np.exp(-nats[0]))
        assert len({round(found[role][0], 9) for found in every}) > 1


def test_a_bucket_that_saves_nothing_has_no_weight() -> None:
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, 4, (16, 4096))
    levels = [level(one) for one in seen_before(tokens, range(8), 2048)]
    weights = fitted_weights(levels, np.full(levels[0].share.shape, 0.25))
    saved = np.log(interpolated(levels, weights, np.full(levels[0].share.shape, 0.25)) / 0.25).sum()
    assert abs(saved) < 30  # of 45,000 nats


def test_orders_reach_as_many_bits_in_every_alphabet() -> None:
    rng = np.random.default_rng(4)
    bases, words = [rng.integers(0, 4, 10_000)], [rng.integers(0, 2048, 10_000)]
    assert orders_of(bases)[0][-1] == 12
    assert orders_of(words)[0][-1] == 3
    assert orders_of([np.zeros(100, np.int64)])[1][-1] == 32
    for longest in range(2, 40):
        found = ladder(longest)
        assert found[:3] == (0, 1, 2)
        assert found[-1] == longest
        assert len(found) <= 10
        assert (np.diff(found) > 0).all()
