"""Use of context: the past is really cut, the same tokens are compared, and a model that looks back gains."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.estimates import Estimate
from l2m_design.model import build
from l2m_design.training.batches import held_out_windows
from l2m_design.training.context import contexts_of, late_with_cut_past
from l2m_design.training.evaluate import evaluate
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import effective_context

CPU = torch.device("cpu")
CORPUS = open_corpus("santa-fe:beta=0.5,pairs=128,keys=8,documents=200")
WINDOWS = held_out_windows(CORPUS, "test", 64, 24)


@pytest.mark.parametrize("context", [4, 5, 16, 32])
def test_each_late_token_is_scored_once_with_at_least_the_asked_past(context: int) -> None:
    seen: list[int] = []

    class Spy(nn.Module):
        def nats(self, tokens: torch.Tensor, first: int) -> torch.Tensor:
            seen.append(tokens.shape[1] - 1)
            return torch.full(tokens[:, first:].shape, np.log(10))

    spy: Any = Spy()
    late = late_with_cut_past(spy, WINDOWS, [context], CPU)[context]
    np.testing.assert_allclose(late, np.log(10), rtol=1e-6)
    assert set(seen) == {context + max(1, context // 2) - 1}


def test_a_slow_twin_cuts_every_token_by_hand() -> None:
    layer = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8}
    torch.manual_seed(0)
    model = build(Architecture.parse({"vocabulary": 10, "width": 16, "layers": [layer]}, "test"))
    context, run = 8, 4
    fast = late_with_cut_past(model, WINDOWS, [context], CPU)[context]
    tokens = torch.from_numpy(WINDOWS.tokens())
    nats = np.full(tokens.shape, np.nan)
    for target in range(33, 65):
        begin = 33 + (target - 33) // run * run - context
        with torch.no_grad():
            logits = model(tokens[:, begin:target])[:, -1]
        nats[:, target] = nn.functional.cross_entropy(logits, tokens[:, target], reduction="none").numpy()
    slow = nats[:, 33:].mean(axis=1)
    by_document = [slow[WINDOWS.document == d].mean() for d in np.unique(WINDOWS.document)]
    np.testing.assert_allclose(fast, by_document, atol=1e-5)


def test_a_model_without_memory_gains_nothing() -> None:
    class Bigram(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(10, 10))

        def nats(self, tokens: torch.Tensor, first: int = 1) -> torch.Tensor:
            logits = self.table[tokens[:, first - 1 : -1]].transpose(1, 2)
            return nn.functional.cross_entropy(logits, tokens[:, first:], reduction="none")

    model: Any = Bigram()
    whole = evaluate(model, WINDOWS, CPU, np.zeros(10)).late_by_document()
    for late in late_with_cut_past(model, WINDOWS, [4, 16], CPU).values():
        np.testing.assert_allclose(late, whole, atol=1e-5)


def test_contexts_are_shares_of_the_window_and_no_longer_than_half_of_it() -> None:
    assert contexts_of(1024) == (16, 64, 256, 512)
    assert contexts_of(128) == (32, 64)
    with pytest.raises(ValueError, match="contexts: 300 is longer than half of the windows"):
        Recipe.parse({"length": 512, "contexts": [300]}, "recipe")


def test_the_effective_context_is_the_longest_with_a_gain_beyond_chance() -> None:
    sure, unsure = Estimate(0.1, 0.05, 0.15, 0.95), Estimate(0.1, -0.05, 0.25, 0.95)
    assert effective_context({16: sure, 64: sure, 256: unsure}) == 64
    assert effective_context({16: unsure}) == 0
    assert effective_context({}) == 0


def test_modules_of_one_package_count_as_one() -> None:
    corpus = open_corpus("stdlib")
    windows = held_out_windows(corpus, "test", 512, 96)
    assert len(np.unique(windows.cluster)) < len(np.unique(windows.document))
