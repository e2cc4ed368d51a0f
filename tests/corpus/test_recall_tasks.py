"""Recall tasks: documents follow their definition, and the Bayes loss is exact at every token."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.corpus.windows import spread_windows
from l2m_design.errors import BadInput
from l2m_design.information.measure import MeasurementSettings
from l2m_design.information.plan import plan
from l2m_design.training.batches import held_out_windows
from l2m_design.training.excess import excess
from l2m_design.training.result import Losses

Law = dict[tuple[int, ...], float]
SPECS = ["mqar", "noisy-recall", "noisy-recall:noise=0", "fuzzy-recall", "selective-copy"]
MQAR = "mqar:pairs=2,length=12,keys=3,values=2,fillers=2,power=0.3,documents=400"
NOISY = "noisy-recall:keys=2,values=2,fillers=2,noise=0.3,length=8,documents=400"
PLAIN = "noisy-recall:keys=3,values=2,noise=0,length=8,documents=400"
FUZZY = "fuzzy-recall:pairs=2,keys=2,values=2,key_tokens=2,value_tokens=2,length=10,documents=400"
UNEVEN = "fuzzy-recall:pairs=3,keys=2,values=2,key_tokens=2,value_tokens=1,length=9,documents=400"
COPY = "selective-copy:copied=2,values=2,fillers=2,length=9,documents=400"


def rows(corpus: Any, count: int = 10**6) -> np.ndarray:
    """[documents t] tokens."""
    return np.stack([np.asarray(document) for document in corpus.all_documents][:count]).astype(np.int64)


def opened(kind: str, options: str = "") -> Any:
    return open_corpus(f"{kind}{',' if ':' in kind else ':'}documents=40{options}")


def mqar_law(corpus: Any) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every document and its weight, by counting: slots drawn independently, those where two coincide refused."""
    s = corpus.settings
    slots = s.length // 2 - s.pairs
    fillers = list(itertools.product(range(5, 5 + s.fillers), repeat=2))
    for keys in itertools.permutations(range(s.keys), s.pairs):
        for values in itertools.product(range(3, 3 + s.values), repeat=s.pairs):
            head = tuple(itertools.chain(*zip(keys, values, strict=True)))
            for places in itertools.permutations(range(slots), s.pairs):
                weight = float(np.prod([(place + 1) ** (s.power - 1) for place in places]))
                body: list[Any] = [fillers] * slots
                for key, value, place in zip(keys, values, places, strict=True):
                    body[place] = [(key, value)]
                for filled in itertools.product(*body):
                    yield head + tuple(itertools.chain(*filled)), weight


def recall_law(corpus: Any) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every document, cut at its length, and its weight: over all dictionaries and runs of items."""
    p, q, length = corpus._pairs, corpus._q, corpus.settings.length
    keys = list(itertools.product(range(p.keys), repeat=p.key_tokens))
    values = list(itertools.product(range(p.keys, p.keys + p.values), repeat=p.value_tokens))
    noise = [(corpus.first_filler + i,) for i in range(corpus._fillers)] if q else []
    for chosen in itertools.combinations(keys, p.pairs):
        for given in itertools.product(values, repeat=p.pairs):
            items = [(key + value, (1 - q) / p.pairs) for key, value in zip(chosen, given, strict=True)]
            items += [(token, q / len(noise)) for token in noise]
            law: Law = {(): 1.0}
            while short := [tokens for tokens in law if len(tokens) < length]:
                for tokens in short:
                    weight = law.pop(tokens)
                    for item, share in items:
                        longer = (tokens + item)[:length]
                        law[longer] = law.get(longer, 0.0) + weight * share
            yield from law.items()


def copy_law(corpus: Any) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every document, all alike."""
    s = corpus.settings
    places = s.length - s.copied - 1
    for which in itertools.combinations(range(places), s.copied):
        kinds = [range(s.values) if i in which else range(s.values, s.values + s.fillers) for i in range(places)]
        for tokens in itertools.product(*kinds):
            yield (*tokens, corpus.separator, *(tokens[i] for i in which)), 1.0


def slow_nats(documents: Iterator[tuple[tuple[int, ...], float]], tokens: np.ndarray) -> np.ndarray:
    """[b t] -ln of the weight of all documents that begin so, over those that begin with one token less."""
    weights: Law = {}
    for document, weight in documents:
        for t in range(len(document) + 1):
            weights[document[:t]] = weights.get(document[:t], 0.0) + weight
    begun = np.array([[weights[tuple(row[:t])] for t in range(len(row) + 1)] for row in tokens[:, 1:].tolist()])
    return np.pad(-np.diff(np.log(begun), axis=1), ((0, 0), (1, 0)))


@pytest.mark.parametrize(
    ("spec", "law"),
    [
        (MQAR, mqar_law),
        (NOISY, recall_law),
        (PLAIN, recall_law),
        (FUZZY, recall_law),
        (UNEVEN, recall_law),
        (COPY, copy_law),
    ],
)
def test_the_bayes_loss_is_that_of_counting_all_documents(spec: str, law: Callable[[Any], Any]) -> None:
    corpus: Any = open_corpus(spec)
    tokens = rows(corpus)
    exact, found = slow_nats(law(corpus), tokens), corpus.bayes_nats(tokens)
    np.testing.assert_allclose(found, exact, atol=1e-9)
    mean, error = found.sum(axis=1).mean(), found.sum(axis=1).std() / len(found) ** 0.5
    entropy = whole_entropy(law(corpus))
    assert abs(mean - entropy) < 4 * error + 1e-6  # documents are drawn by the law that was counted


def whole_entropy(documents: Iterator[tuple[tuple[int, ...], float]]) -> float:
    """Nats of a document."""
    weights: Law = {}
    for document, weight in documents:
        weights[document] = weights.get(document, 0.0) + weight
    shares = np.array(list(weights.values())) / sum(weights.values())
    return float(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("spec", SPECS)
def test_answers_cost_nothing_and_a_wrong_one_is_impossible(spec: str) -> None:
    corpus = opened(spec)
    tokens = rows(corpus)
    nats, judged = corpus.bayes_nats(tokens), corpus.judged_in(tokens)
    assert judged.any(axis=1).all()
    assert np.isfinite(nats).all()
    assert (nats >= -1e-12).all()
    assert not nats[judged].any()
    row, place = np.argwhere(judged)[-1]
    others = tokens[row : row + 1].repeat(2, axis=0)
    others[1, place] = tokens[row, place] - 1 if tokens[row, place] - 1 in tokens[judged] else tokens[row, place] + 1
    assert np.isinf(corpus.bayes_nats(others)[1, place])


@pytest.mark.parametrize("spec", SPECS)
def test_the_loss_of_a_token_does_not_depend_on_those_behind_it(spec: str) -> None:
    corpus = opened(spec)
    tokens = rows(corpus, 5)
    nats, judged = corpus.bayes_nats(tokens), corpus.judged_in(tokens)
    for t in (1, 2, 3, 32, 33, 34, 100, 257, 495, 496, 497, 498, 512):
        np.testing.assert_array_equal(corpus.bayes_nats(tokens[:, :t]), nats[:, :t])
        np.testing.assert_array_equal(corpus.judged_in(tokens[:, :t]), judged[:, :t])


def test_mqar_shows_distinct_keys_and_asks_each_once() -> None:
    corpus = opened("mqar")
    for row in rows(corpus)[:, 1:]:
        pairs, slots = np.split(row.reshape(-1, 2), [16])
        asked = slots[slots[:, 0] < 64]
        assert len(set(pairs[:, 0])) == len(asked) == 16
        assert {tuple(pair) for pair in asked} == {tuple(pair) for pair in pairs}
        assert (slots[slots[:, 0] >= 64] >= 128).all()
    judged = corpus.judged_in(rows(corpus))
    assert judged.sum(axis=1).tolist() == [16] * 40


def test_small_powers_ask_early() -> None:
    early, even = (opened("mqar", f",power={power}") for power in (0.01, 1.0))
    places = [np.argwhere(corpus.judged_in(rows(corpus)))[:, 1].mean() for corpus in (early, even)]
    assert places[0] < 0.6 * places[1]
    assert places[1] == pytest.approx(34 + 478 / 2, rel=0.1)


def test_recall_holds_its_dictionary_and_its_share_of_noise() -> None:
    corpus = opened("noisy-recall", ",noise=0.4")
    for row in rows(corpus)[:, 1:]:
        plain = row[row < 64]
        keys, values = plain[: len(plain) // 2 * 2].reshape(-1, 2).T
        assert keys.max() < 32 <= values.min()
        assert all(len(set(values[keys == key])) == 1 for key in set(keys))
    assert (rows(corpus)[:, 1:] >= 64).mean() == pytest.approx(0.4, abs=0.02)


def test_fuzzy_keys_and_values_have_their_tokens() -> None:
    corpus = opened("fuzzy-recall", ",pairs=8,key_tokens=2")
    for row in rows(corpus)[:, 1:]:
        pairs = {tuple(pair) for pair in row[:510].reshape(-1, 5).tolist()}
        assert len({pair[:2] for pair in pairs}) == len(pairs) <= 8
        assert all(max(pair[:2]) < 16 <= min(pair[2:]) for pair in pairs)


def test_a_selective_copy_says_its_tokens_again_in_their_order() -> None:
    corpus = opened("selective-copy")
    for row in rows(corpus)[:, 1:]:
        assert row[495] == corpus.separator
        np.testing.assert_array_equal(row[:495][row[:495] < 64], row[496:])
    assert corpus.judged(513).sum() == 16


@pytest.mark.parametrize("spec", SPECS)
def test_a_document_is_a_window_of_its_own_whatever_their_number(spec: str) -> None:
    few, more = open_corpus(opened(spec).name), opened(spec, ",seed=0")
    np.testing.assert_array_equal(rows(few), rows(more)[: len(rows(few))])
    larger = open_corpus(few.name.replace("documents=40", "documents=50"))
    np.testing.assert_array_equal(rows(few), rows(larger)[:40])
    windows = spread_windows(few.all_documents, 100, 100, np.random.default_rng(0), few.name, few.period)
    assert not windows.start.any()
    assert all(len(few.documents(split)) for split in ("train", "validation", "test"))
    assert not np.array_equal(rows(few), rows(opened(spec, ",seed=1")))


@pytest.mark.parametrize("spec", SPECS)
def test_the_exact_predictor_has_no_excess_and_a_blind_one_has(spec: str) -> None:
    corpus = opened(spec)
    windows = held_out_windows(corpus, "test", 512, 16)
    exact = corpus.bayes_nats(windows.tokens())
    perfect = excess(Losses(exact, windows.document), windows, corpus)
    blind = excess(Losses(exact + 0.5, windows.document), windows, corpus)
    assert perfect is not None
    assert blind is not None
    assert perfect.late() == 0.0
    assert blind.late() == pytest.approx(0.5)
    assert blind.by_position() == pytest.approx(np.full(8, 0.5))


def test_windows_without_an_answer_in_their_second_half_are_left_out() -> None:
    corpus = open_corpus("mqar:pairs=2,length=64,documents=200")
    windows = held_out_windows(corpus, "test", 64, 20)
    tokens = windows.tokens()
    late = corpus.judged_in(tokens)[:, 33:].any(axis=1)
    assert 0 < late.sum() < 20
    found = excess(Losses(corpus.bayes_nats(tokens) + late[:, None], windows.document), windows, corpus)
    assert found is not None
    assert found.late_by_document() == pytest.approx(np.ones(late.sum()))
    short = held_out_windows(opened("selective-copy"), "test", 256, 8)
    assert excess(Losses(np.zeros((8, 257)), short.document), short, opened("selective-copy")) is None


def test_windows_that_start_inside_a_document_are_refused() -> None:
    corpus = opened("mqar")
    with pytest.raises(ValueError, match="must start with token 144"):
        corpus.bayes_nats(rows(corpus)[:, 1:])


def test_no_information_of_neighbouring_runs_is_estimated() -> None:
    with pytest.raises(BadInput, match="this source is not stationary"):
        plan(opened("mqar"), MeasurementSettings())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mqar:pairs=32,length=64", r"pairs \(32\) take 4 tokens each .*; length \(64\) is too short"),
        ("mqar:pairs=65", r"pairs \(65\) must have distinct keys, but keys is only 64"),
        ("mqar:length=511", r"length \(511\) must be even"),
        ("mqar:power=0", "power: input should be greater than 0"),
        ("mqar:pair=3", "unknown key 'pair'; did you mean 'pairs'"),
        ("noisy-recall:noise=1", "noise: input should be less than 1"),
        ("noisy-recall:documents=3", "documents: input should be greater than or equal to 32"),
        ("fuzzy-recall:pairs=9,keys=2", r"pairs \(9\) must be distinct, keys \(2\) make 8 of key_tokens \(3\)"),
        ("fuzzy-recall:length=8", r"length \(8\) must be long enough for two pairs"),
        (
            "selective-copy:copied=16,length=32",
            r"copied \(16\) occur twice with a separator between; length \(32\) is too short",
        ),
    ],
)
def test_bad_options_are_named(spec: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        open_corpus(spec)


@pytest.mark.parametrize("spec", SPECS)
def test_a_tasks_name_opens_it_again(spec: str) -> None:
    corpus = open_corpus(spec)
    assert open_corpus(corpus.name).fingerprint == corpus.fingerprint
