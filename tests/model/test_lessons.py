"""Lessons of use: attention by its definition, gradients for the prediction alone, and what they teach."""

from typing import Any

import torch
from torch.nn import functional as F

from l2m_design.architecture import Architecture
from l2m_design.model import build
from l2m_design.model.ages import ages_of, by_age
from l2m_design.model.lessons import chunk_attention, lesson, use_lesson
from l2m_design.model.mixer import Pass
from l2m_design.model.use import LN_U

LAYER: dict[str, Any] = {
    "kind": "sparse_attention", "heads": 4, "kv_heads": 2, "head_dim": 8, "chunk": 8, "exponent": 0.5, "keep": 2.0,
    "allocate": "layer", "choose": "use",
}  # fmt: skip
VOCABULARY, CALLS, MARKS = 32, 31, 8


def model_of(*layers: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return build(Architecture.parse({"vocabulary": VOCABULARY, "width": 32, "layers": layers}, "drawn"))


def test_chunks_of_queries_give_what_a_square_would() -> None:
    query, key = torch.randn(2, 4, 40, 6), torch.randn(2, 2, 40, 6)
    found = chunk_attention(query, key, 8)
    future = torch.ones(40, 40, dtype=torch.bool).triu(1)
    scores = query @ key.repeat_interleave(2, dim=1).transpose(-1, -2) / 6**0.5
    weights = scores.masked_fill(future, -torch.inf).softmax(-1).unflatten(1, (2, 2)).mean(2)
    torch.testing.assert_close(found, weights.unflatten(2, (5, 8)).sum(3))


def test_only_the_prediction_has_gradients() -> None:
    model = model_of(LAYER, LAYER | {"choose": "value", "allocate": "global"})
    before = model.blocks[0].mixer.use.ln_prior.clone()
    tokens = torch.randint(0, VOCABULARY, (2, 61))
    lesson(model, tokens).backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {"blocks.0.mixer.use.weight", "blocks.0.mixer.use.bias", "blocks.1.mixer.score.0.weight"} <= reached
    assert all(".use." in name or ".score." in name for name in reached)
    assert not model.blocks[0].mixer.use.ln_prior.equal(before)


def test_the_lessons_find_the_tokens_that_are_read_again() -> None:
    """A layer that reads marks wherever they stand, and little else, is told so by keys and values alone."""
    model = model_of(LAYER | {"rope_theta": None})
    mixer = model.blocks[0].mixer
    with torch.no_grad():  # queries all alike, keys of marks near them
        model.embedding.weight[:, 0] = 1.0
        model.embedding.weight[:MARKS, 1] = 2.0
        mixer.query.weight.zero_()
        mixer.query.weight[:, 0] = 0.15
        mixer.key.weight.mul_(0.2)[:, 1] = 0.4
    tokens = torch.randint(0, VOCABULARY, (4, 128), generator=torch.Generator().manual_seed(3))
    optimiser = torch.optim.Adam(model.value_parameters, lr=2e-2)
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = use_lesson(model, tokens)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    seen: list[Any] = []
    with torch.no_grad():
        model.pass_over(tokens, Pass(scope="all", seen=seen))
        new = mixer.project(seen[0][1], mixer.empty(4))
        received = by_age(chunk_attention(new.query, new.key, 8).flatten(0, 1), torch.arange(128), ages_of(16))
    ln_u, marks = new.score[..., LN_U], (tokens < MARKS)[:, None].expand(-1, 2, -1)
    truth = received.nanmean(-1).view(4, 2, 128)
    ln_u, marks, truth = (z[..., :-8] for z in (ln_u, marks, truth))  # the last chunk is not read again
    assert losses[-1] < losses[0]
    assert truth[marks].mean() > 2 * truth[~marks].mean()  # as the test was laid out
    off = ln_u[marks].mean() - ln_u[~marks].mean() - (truth[marks].mean() / truth[~marks].mean()).log()
    assert abs(off) < 0.5


def test_reading_all_is_full_attention() -> None:
    model = model_of(LAYER)
    full = LAYER | {"kind": "attention"}
    for name in ("chunk", "exponent", "keep", "allocate", "choose"):
        del full[name]
    other = model_of(full)
    other.load_state_dict({name: p for name, p in model.state_dict().items() if ".use." not in name})
    tokens = torch.randint(0, VOCABULARY, (2, 100))
    with torch.no_grad():
        torch.testing.assert_close(model.pass_over(tokens, Pass(scope="all")), other(tokens))
        near = model.pass_over(tokens, Pass(scope="local"))
    assert not F.mse_loss(near, other(tokens)) < 1e-8
