"""Rules: each holds exactly the slots of its budget, and those that its definition names."""

from typing import Any

import pytest
import torch

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model.adopted import AdoptedModel, AdoptedState
from l2m_design.model.competing import Contest, best_of
from l2m_design.model.rules import (
    BIRTH,
    RECEIVED,
    SPAN,
    ExpectedAttention,
    HeadWindows,
    HeavyHitters,
    KeyNorm,
    LastAttention,
    Rule,
    Window,
)
from l2m_design.model.turned import turned
from l2m_design.training.rules_fit import fit_expected

CHUNK, SINKS, LENGTH, HEADS = 8, 2, 76, 6
RULES = ("window", "heavy hitters", "last attention", "key norm", "expected attention", "head windows")


def build() -> Any:
    """A tiny model with random weights."""
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=97,
        hidden_size=96,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    return transformers.LlamaForCausalLM(config).eval()


def tokens() -> torch.Tensor:
    return torch.randint(0, 97, (2, LENGTH), generator=torch.Generator().manual_seed(2))


def budget(slots: int = 20) -> GlobalBudget:
    return GlobalBudget(CHUNK, "fixed", window=slots, sinks=SINKS)


def rule_of(name: str, model: Any, slots: int = 20) -> Rule:
    if name == "expected attention":
        return fit_expected(AdoptedModel(model, budget()), [tokens()[0]], LENGTH)
    if name == "head windows":
        falling = -torch.linspace(0.2, 2, HEADS)[:, None] * torch.tensor([1.0, 4.0, 16.0]).log()
        return HeadWindows(torch.tensor([1, 4, 16]), falling)
    simple = {"window": Window, "last attention": LastAttention, "key norm": KeyNorm}
    return HeavyHitters(budget(slots)) if name == "heavy hitters" else simple[name]()


def adopted(name: str, slots: int = 20, allocate: Any = "head") -> AdoptedModel:
    model = build()
    return AdoptedModel(model, budget(slots), allocate, rule_of(name, model, slots))


def held(state: AdoptedState, head: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Records of the slots of one head in the first sequence, and those of its local tokens."""
    return state.slots.records[0, state.slots.heads()[0] == head], state.near[2][0, head]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_holds_its_budget_and_all_is_exact_where_all_is_held(name: str) -> None:
    made = adopted(name)
    whole, state = made.prefill(tokens())
    assert state.slots.counts.unique().tolist() == [20]
    first, state = made.prefill(tokens()[:, :41])
    rest, _ = made.prefill(tokens()[:, 41:], state)
    assert (torch.cat([first, rest], 1) - whole).abs().max() < 1e-5
    with torch.no_grad():
        want = made.model(tokens()).logits
    assert (adopted(name, 500).prefill(tokens())[0] - want).abs().max() < 1e-5


@pytest.mark.parametrize("budget", [1, 5, 12, 20])
def test_the_best_stay_and_of_equals_the_first(budget: int) -> None:
    """As a stable sort finds them, where many are equal, endless or not a number."""
    scores = torch.randint(0, 4, (3, 2, 40), generator=torch.Generator().manual_seed(budget)).float()
    scores[0, 0, 30], scores[1, 1, :6], scores[2, 0, 7] = torch.nan, torch.inf, -torch.inf
    order = scores.nan_to_num(torch.inf, torch.inf, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    got = best_of(scores, Contest(2, 2 * budget, 9, CHUNK, SINKS))
    assert got.tolist() == order[..., : 2 * budget].sort(dim=-1).values.tolist()


def test_a_window_holds_the_last_tokens() -> None:
    _, state = adopted("window", 18).prefill(tokens())
    births = held(state, 0)[0][:, BIRTH]
    assert births.tolist() == [0.0] * SINKS + [6.0] * 8 + [7.0] * 8


def test_first_tokens_stay_where_they_fill_more_than_a_chunk() -> None:
    made = AdoptedModel(build(), GlobalBudget(CHUNK, "fixed", window=5, sinks=11), "head", KeyNorm())
    _, state = made.prefill(tokens()[:, : 3 * CHUNK + 1])
    _, whole = adopted("key norm", 500).prefill(tokens())
    for head in range(2):  # of the first layer, which reads the same in both
        assert held(state, head)[0][:, 0].tolist() == held(whole, head)[0][:11, 0].tolist()


@pytest.mark.parametrize(("name", "last"), [("heavy hitters", False), ("last attention", True)])
def test_attention_received_is_that_of_the_model(name: str, last: bool) -> None:
    """From all later chunks, or from the last one; mean over the query heads of a group."""
    made = adopted(name, 500)
    _, state = made.prefill(tokens())
    made.model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = made.model(tokens(), output_attentions=True).attentions[1][0, :3].mean(0)  # layer 1, kv head 0
    chunk = torch.arange(LENGTH) // CHUNK
    counts = chunk == chunk[-1] if last else torch.ones(LENGTH, dtype=torch.bool)
    want = (weights * (chunk[:, None] > chunk) * counts[:, None]).sum(0)
    got = torch.cat(held(state, 2))[:, RECEIVED]
    assert (got - want).abs().max() < 1e-5


def test_heavy_hitters_keep_the_last_and_those_attended_to_most() -> None:
    rule = HeavyHitters(GlobalBudget(CHUNK, "fixed", window=2 * CHUNK, sinks=SINKS))
    records = torch.tensor([[[0.0, 6.0], [0.0, 5.0], [2.0, 4.0], [1.0, 3.0]]])
    scores = rule.scores(records, torch.zeros(1, 4, dtype=torch.long), 8, CHUNK)
    assert scores[0].tolist() == [torch.inf, 0.0, 2.0, 1.0]


def test_small_keys_score_best() -> None:
    rule = KeyNorm()
    key = torch.tensor([[[[3.0, 4.0], [0.6, 0.8]]]])
    records = rule.records(key, key, 0, CHUNK)
    assert rule.scores(records[:, 0], torch.zeros(1, 2, dtype=torch.long), 1, CHUNK)[0].tolist() == pytest.approx(
        [-5.0, -1.0]
    )


def test_expected_attention_is_the_mean_over_gaussian_queries() -> None:
    """Against a million queries, rotated by the mean over the positions of the second span."""
    torch.manual_seed(0)
    d, rates = 4, torch.tensor([0.003, 0.001])
    mean, root = torch.randn(d), torch.randn(d, d) / 2
    rule = ExpectedAttention((mean.view(1, 1, d), (root @ root.T).view(1, 1, d, d)), rates, 2)
    key = torch.randn(1, 1, 3, d)
    queries = mean + torch.randn(1_000_000, d) @ root.T
    at = torch.arange(SPAN, 2 * SPAN)[:, None]
    rotation = torch.stack([turned(unit.expand(SPAN, d), at, rates).mean(0) for unit in torch.eye(d)])
    want = (queries @ rotation @ key[0, 0].T / d**0.5).exp().mean(0).log()
    assert (rule.logits(key, slice(None))[0, 0, 0, 1] - want).abs().max() < 0.02
    value = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1)
    records = rule.records(key, value, 0, CHUNK)[:, 0]
    scores = rule.scores(records, torch.zeros(1, 3, dtype=torch.long), SPAN // CHUNK + 1, CHUNK)
    assert (scores[0] - want - torch.tensor([1.0, 2.0, 3.0]).log()).abs().max() < 0.02


def test_head_windows_are_the_last_tokens_and_fit_the_heads() -> None:
    """Heads whose attention falls slowly hold more, sinks apart, and what a head holds is unbroken."""
    _, state = adopted("head windows", allocate="model").prefill(tokens())
    counts = state.slots.counts[0].tolist()
    assert sum(counts) == 20 * HEADS
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
    for head in range(HEADS):
        births = held(state, head)[0][SINKS:, BIRTH]
        assert births.numel() == 0 or births[-1] == 7
        assert (births.diff() <= 1).all()
