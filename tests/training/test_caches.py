"""Caches compared: streamed losses, what repeats, paired differences, taught scores."""

from typing import Any

import numpy as np
import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.errors import WorkFailed
from l2m_design.model import build
from l2m_design.training import caches
from l2m_design.training.batches import held_out_windows
from l2m_design.training.caches import CacheLosses, Repeat, cache_losses, repeats, streamed_nats, teach_values

CPU = torch.device("cpu")
VALUE = {
    "kind": "sparse_attention", "heads": 2, "kv_heads": 2, "head_dim": 8, "chunk": 8, "exponent": 0.5, "keep": 2.0,
    "allocate": "global", "choose": "value",
}  # fmt: skip


def model_of(layer: dict[str, Any], vocabulary: int = 34) -> Any:
    torch.manual_seed(0)
    return build(Architecture.parse({"vocabulary": vocabulary, "width": 16, "layers": [layer]}, "drawn"))


def test_streamed_losses_are_those_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "PIECE", 7)
    model = model_of(VALUE)
    tokens = torch.randint(0, 34, (2, 60), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(tokens[:, :-1])
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    found = streamed_nats(model, tokens.numpy(), CPU)
    assert np.isnan(found[:, 0]).all()
    np.testing.assert_allclose(found[:, 1:], expected, atol=1e-5)


def test_losses_that_are_not_finite_are_failed_work() -> None:
    corpus = open_corpus("santa-fe:beta=0.5,pairs=64,keys=32,documents=200")
    model = model_of(VALUE)
    torch.nn.init.constant_(model.norm.weight, torch.nan)
    windows = held_out_windows(corpus, "test", 60, 8)
    with pytest.raises(WorkFailed, match="losses are not finite"):
        cache_losses(model, windows, CPU, Repeat(2, 16))


def test_a_token_repeats_what_stood_far_before_with_the_same_context() -> None:
    tokens = np.array([[1, 2, 3, 9, 1, 2, 3, 1, 2, 4]])
    assert repeats(tokens, 2, 3).nonzero()[1].tolist() == [6]
    assert repeats(tokens, 1, 3).nonzero()[1].tolist() == [5, 6, 8]
    assert not repeats(tokens, 2, 4).any()


def test_differences_are_paired_over_documents() -> None:
    def losses(late: list[float], repeated: list[float]) -> CacheLosses:
        return CacheLosses(np.array(late), np.array(repeated), np.array([0, 0, 1, 2]))

    full = losses([1.0, 2.0, 3.0, 4.0], [1.0, np.nan, 1.0, 1.0])
    worse = losses([1.1, 2.3, 3.1, 4.3], [2.0, np.nan, 1.0, 1.0])
    difference = worse.difference(full)
    assert difference is not None
    assert difference.value == pytest.approx((0.2 + 0.1 + 0.3) / 3)
    assert difference.low < difference.value < difference.high
    repeated = worse.difference(full, "repeated")
    assert repeated is not None
    assert repeated.value == pytest.approx(1 / 3)
    nothing = losses([1.0] * 4, [np.nan] * 4)
    assert nothing.difference(nothing, "repeated") is None


def test_lessons_are_the_same_again_and_change_scores_alone() -> None:
    corpus = open_corpus("santa-fe:beta=0.5,pairs=64,keys=32,documents=200")
    one, other, fresh = model_of(VALUE), model_of(VALUE), model_of(VALUE)
    torch.manual_seed(7)
    teach_values(one, corpus, 100, 3)
    torch.manual_seed(8)
    teach_values(other, corpus, 100, 3)
    for name, p in one.named_parameters():
        assert torch.equal(p, other.get_parameter(name))
        assert torch.equal(p, fresh.get_parameter(name)) == (".score." not in name)
    untaught = model_of(VALUE)
    teach_values(untaught, corpus, 100, 0)
    assert not torch.equal(one.blocks[0].mixer.score[0].weight, untaught.blocks[0].mixer.score[0].weight)
