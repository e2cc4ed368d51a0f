"""Excess over Bayes: only what the past tells counts, and no model is better than the exact predictor."""

import numpy as np
import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.training.batches import held_out_windows
from l2m_design.training.excess import PARTS, Excess, excess
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import Losses, Result
from l2m_design.training.run import train

SPEC = "santa-fe:beta=0.5,pairs=128,keys=8,documents=64"
RECIPE = Recipe(length=64, tokens=64 * 64, batch_tokens=256, windows=16, rungs=())
LAYER = {"kind": "mamba2", "d_state": 8, "head_dim": 8}


def trained(spec: str) -> Result:
    corpus = open_corpus(spec)
    drawn = Architecture.parse({"vocabulary": corpus.vocabulary, "width": 16, "layers": [LAYER]}, "drawing")
    return train(drawn, corpus, RECIPE, torch.device("cpu"))[1]


def test_late_excess_is_that_of_judged_tokens_of_the_second_half_every_document_counting_alike() -> None:
    over = np.zeros((11, 9))
    over[:, 0::2] = 100.0  # keys
    over[:, 1:5] = 50.0  # the first half
    over[:, [5, 7]] = [[1.0, 3.0], [3.0, 5.0], *[[7.0, 9.0]] * 9]
    found = Excess(over, np.arange(9) % 2 == 1, np.array([0, 0, *range(4, 13)]))
    assert found.late_by_document().tolist() == [3.0, *[8.0] * 9]
    assert found.late() == pytest.approx(7.5)


def test_positions_are_eighths_of_the_judged_tokens() -> None:
    over = np.tile(np.arange(33.0), (2, 1))
    found = Excess(over, np.arange(33) % 2 == 1, np.array([0, 1]))
    assert found.by_position().tolist() == [2.0, 6.0, 10.0, 14.0, 18.0, 22.0, 26.0, 30.0]


def test_facts_are_judged_and_keys_are_not() -> None:
    assert open_corpus(SPEC).judged(5).tolist() == [False, True, False, True, False]
    assert open_corpus("markov").judged(5).all()


@pytest.mark.parametrize("spec", [SPEC, SPEC + ",noise=0.25,bits=2", "markov:length=256", "iid:vocabulary=8"])
def test_the_exact_predictor_has_no_excess(spec: str) -> None:
    corpus = open_corpus(spec)
    windows = held_out_windows(corpus, "test", 64, 16)
    exact = Losses(corpus.bayes_nats(windows.tokens()), windows.document)
    found = excess(exact, windows, corpus)
    assert found is not None
    assert found.late() == 0.0
    assert not found.by_position().any()


@pytest.mark.parametrize("spec", [SPEC, "markov:length=256", "iid:vocabulary=8"])
def test_no_trained_model_is_better_than_bayes_on_average(spec: str) -> None:
    result = trained(spec)
    assert result.late_excess_nats is not None
    assert result.test_late_excess_by_document is not None
    assert result.test_excess_by_position is not None
    assert len(result.test_late_excess_by_document) == len(result.test_late_by_document)
    assert len(result.test_excess_by_position) == PARTS
    assert min(result.late_excess_nats, np.mean(result.test_late_excess_by_document)) > -0.05
    assert np.mean(result.test_excess_by_position) > -0.05


def test_an_unlearned_fact_costs_what_bayes_knows_of_it() -> None:
    """Blind to the past, a fact costs ln 2 nats; so far behind one of 8 keys nearly all of it is excess."""
    corpus = open_corpus(SPEC)
    windows = held_out_windows(corpus, "test", 64, 16)
    found = excess(Losses(np.full((16, 65), np.log(2)), windows.document), windows, corpus)
    assert found is not None
    assert 0.8 * np.log(2) < found.late() <= np.log(2)
    assert (np.diff(found.by_position()) > -0.1).all()


@pytest.mark.parametrize("spec", ["arfima:length=256,documents=40", "copy:shortest=64,levels=2", "text"])
def test_sources_without_exact_losses_of_windows_have_no_excess(spec: str, text_folder) -> None:
    result = trained(str(text_folder) if spec == "text" else spec)
    assert result.late_excess_nats is None
    assert result.test_late_excess_by_document is None
    assert result.test_excess_by_position is None


def test_results_stored_before_excess_was_known_still_load() -> None:
    old = trained(SPEC).plain()
    for name in ("late_excess_nats", "test_late_excess_by_document", "test_excess_by_position", "compile_seconds"):
        del old[name]
    result = Result.of_plain(old)
    assert result.late_excess_nats is None
    assert result.compile_seconds == 0.0


def test_information_captured_is_exact_for_the_exact_predictor_and_nothing_for_one_without_memory() -> None:
    corpus = open_corpus("santa-fe:beta=0.7,pairs=128,keys=64,documents=400")
    windows = held_out_windows(corpus, "validation", 255, 24)
    tokens = windows.tokens(slice(0, len(windows)))
    exact = corpus.bayes_nats(tokens)
    perfect = excess(Losses(exact, windows.document), windows, corpus)
    assert perfect is not None
    assert perfect.captured(corpus) == pytest.approx(corpus.information(128))
    forgetful = exact.copy()
    forgetful[:, 1::2] = np.log(2)  # every fact costs a bit, known or not
    none = excess(Losses(forgetful, windows.document), windows, corpus)
    assert none is not None
    assert abs(none.captured(corpus)) < 0.25 * corpus.information(128)
