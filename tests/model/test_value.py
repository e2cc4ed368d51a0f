"""Lessons of value: credit by its definition, gradients for the scores alone, and what a lesson teaches."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.model import build
from l2m_design.model.mixer import Pass
from l2m_design.model.value import far_credit, value_lesson

LAYER = {
    "kind": "sparse_attention", "heads": 4, "kv_heads": 2, "head_dim": 8, "chunk": 8, "exponent": 0.5,
    "allocate": "global", "choose": "value",
}  # fmt: skip


def model_of(layers: list[dict[str, Any]]) -> Any:
    torch.manual_seed(0)
    return build(Architecture.parse({"vocabulary": 34, "width": 16, "layers": layers}, "drawn"))


def test_credit_is_attention_from_later_chunks_times_benefit() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 300, 5, dtype=torch.float64), torch.randn(2, 2, 300, 5, dtype=torch.float64)
    benefit, at = torch.randn(2, 300, dtype=torch.float64), torch.arange(300)
    scores = query @ key.repeat_interleave(2, dim=1).transpose(-1, -2) / 5**0.5
    weights = scores.masked_fill(at[None, :] > at[:, None], -torch.inf).softmax(-1)
    weights = weights * (at[:, None] // 8 - at[None, :] // 8 >= 2)
    expected = (weights * benefit[:, None, :, None]).sum(2).unflatten(1, (2, 2)).sum(2)
    torch.testing.assert_close(far_credit(query, key, benefit, 8).double(), expected, atol=1e-5, rtol=0)


def test_a_lesson_moves_the_scores_and_nothing_else() -> None:
    model = model_of([LAYER, {"kind": "mamba2", "d_state": 4, "head_dim": 8}, LAYER, LAYER | {"share": 0}])
    value_lesson(model, torch.randint(0, 34, (2, 70))).backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {name for name, _ in model.named_parameters() if ".score." in name}


@pytest.mark.parametrize("tokens", [1, 2, 20])
def test_a_lesson_from_a_short_text_is_finite(tokens: int) -> None:
    assert torch.isfinite(value_lesson(model_of([LAYER]), torch.zeros(1, tokens, dtype=torch.int64)))


@pytest.mark.integration
def test_facts_are_worth_more_than_keys_where_recall_is_known() -> None:
    """A layer that looks facts up learns from a few lessons that keys, which nobody foresees, are of no later use."""
    corpus = open_corpus("santa-fe:beta=0.5,keys=32,pairs=64,documents=300")
    model: Any = build(
        Architecture.parse(
            {"vocabulary": 34, "width": 32, "layers": [LAYER | {"qk_norm": True, "short_conv": 4}]}, "drawn"
        )
    )
    rows = torch.stack([torch.as_tensor(d[:128].astype("int64")) for d in corpus.all_documents])
    optimiser = torch.optim.AdamW(model.parameters(), lr=6e-3)
    for step in range(120):
        batch = rows[step * 8 % 256 :][:8]
        logits = model(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()) + value_lesson(model, batch[:2])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    seen: list[Any] = []
    with torch.no_grad():
        model.pass_over(rows[-16:], Pass(scope="all", seen=seen))
        mixer, x = seen[0]
        use = mixer.project(x, mixer.empty(16)).score.mean((0, 1))
    assert use[1::2].mean() > 3 * use[0::2].mean()
