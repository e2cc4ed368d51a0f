"""Adopted models: exact against the model itself, in any pieces, alone and in batches, with exactly the slots drawn."""

from typing import Any

import pytest
import torch

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.errors import BadInput
from l2m_design.model.adopted import AdoptedModel, AdoptedState
from l2m_design.model.use import Use, power_sum

CHUNK, SINKS, LENGTH = 8, 2, 75
COMMON = {
    "vocab_size": 97,
    "hidden_size": 96,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def build(kind: str) -> Any:
    """A tiny model with random weights."""
    import transformers

    torch.manual_seed(0)
    fields: dict[str, Any] = {
        "Llama": {},
        "Qwen3": {"head_dim": 16},
        "Qwen2": {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 2},
    }[kind]
    config = getattr(transformers, f"{kind}Config")(**COMMON, **fields)
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


def adopted(model: Any, allocate: Any, slots: int = 12, law: Any = "fixed") -> AdoptedModel:
    """With a rule that is random, but not flat."""
    budget = GlobalBudget(CHUNK, law, 0.7, 1.5, slots, SINKS)
    made = AdoptedModel(model, budget, allocate)
    torch.manual_seed(1)
    torch.nn.init.normal_(made.use.weight, std=0.3)
    return made


def tokens() -> torch.Tensor:
    return torch.randint(0, 97, (2, LENGTH), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", ["Llama", "Qwen3", "Qwen2"])
def test_a_cache_that_holds_all_reads_as_the_model_does(kind: str) -> None:
    model = build(kind)
    with torch.no_grad():
        want = model(tokens()).logits
    got, _ = adopted(model, "model", slots=500).prefill(tokens())
    assert (got - want).abs().max() < 1e-5
    with torch.no_grad():
        assert torch.equal(model(tokens()).logits, want)  # its own attention is back


@pytest.mark.parametrize("allocate", ["head", "layer", "model"])
@pytest.mark.parametrize("kind", ["Llama", "Qwen2"])
def test_pieces_and_batches_read_alike(kind: str, allocate: str) -> None:
    made = adopted(build(kind), allocate)
    whole, _ = made.prefill(tokens())
    state, parts = None, []
    for first, last in ((0, 5), (5, 40), (40, 41), (41, 56), (56, LENGTH)):
        logits, state = made.prefill(tokens()[:, first:last], state)
        parts.append(logits)
    assert (torch.cat(parts, 1) - whole).abs().max() < 1e-5
    alone, _ = made.prefill(tokens()[1:])
    assert (alone - whole[1:]).abs().max() < 1e-5
    last, _ = made.prefill(tokens(), last=True)
    assert (last - whole[:, -1:]).abs().max() < 1e-5


@pytest.mark.parametrize("law", ["fixed", "power"])
@pytest.mark.parametrize("allocate", ["head", "layer", "model"])
def test_slots_are_exactly_the_budget(allocate: str, law: str) -> None:
    made = adopted(build("Llama"), allocate, law=law)
    state = made.empty(2)
    for t in range(1, LENGTH):
        _, state = made.step(tokens()[:, t - 1], state)
        held = state.slots.counts.sum(1) + state.near[0].shape[1] * state.near[0].shape[2]
        assert held.tolist() == [6 * made.budget.count(t)] * 2
        assert_shares(state, made, allocate)
    spread = state.slots.counts.float().std()
    assert (spread > 0) == (allocate != "head")


def assert_shares(state: AdoptedState, made: AdoptedModel, allocate: str) -> None:
    """A head's slots, or a layer's, are equally many."""
    counts = state.slots.counts.view(2, 3, 2)
    if allocate == "head":
        assert counts.unique().numel() == 1
    if allocate == "layer":
        assert counts.sum(2).unique().numel() == 1
    if not state.slots.keys.shape[1]:
        return
    steps, born = state.slots.heads().diff(dim=1), state.slots.records[..., 3]
    assert (steps >= 0).all()
    assert (born.diff(dim=1)[steps == 0] >= 0).all()  # in the order of time
    assert (state.slots.counts >= SINKS).all()


def test_the_slots_that_score_best_stay() -> None:
    """With nothing predicted or received but age, the last tokens stay: a window with sinks."""
    model = build("Llama")
    made = AdoptedModel(model, GlobalBudget(CHUNK, "fixed", 0.0, 1.0, 12, SINKS), "head")
    with torch.no_grad():
        made.use.ln_prior.fill_(60.0)  # what was received counts for nothing
    _, state = made.prefill(tokens())
    births = state.slots.records[0, :12, 3]
    assert births[:SINKS].tolist() == [0, 0]
    assert (births[SINKS:] >= 6).all()


def test_power_sums() -> None:
    for alpha in (0.05, 0.5, 1.0, 1.0001, 2.0, 3.0):
        for n in (0, 1, 2, 3, 5, 50, 1000):
            exact = sum(age**-alpha for age in range(1, n + 1))
            assert power_sum(torch.tensor(float(n)), torch.tensor(alpha)).item() == pytest.approx(exact, rel=1e-2)


def test_what_was_received_raises_and_age_lowers_a_score() -> None:
    use = Use(1, 2, 2)
    records = torch.tensor([[[-4.0, 1.0, 0.0, 0.0], [-4.0, 1.0, 9.0, 0.0], [-4.0, 1.0, 0.0, 5.0]]])
    plain, received, younger = use.scores(records, torch.zeros(1, 3, dtype=torch.long), 8, 16)[0].tolist()
    assert received > plain
    assert younger > plain


def test_layers_without_positions_are_read_without() -> None:
    """SmolLM3 leaves every fourth layer's keys unturned: so does what is predicted from them."""
    import transformers

    torch.manual_seed(0)
    config = transformers.SmolLM3Config(**COMMON | {"num_hidden_layers": 4}, pad_token_id=0)
    made = adopted(transformers.SmolLM3ForCausalLM(config).eval(), "model")
    assert made.rates.shape == (4, 8)
    assert made.rates.abs().sum(1).bool().tolist() == [True, True, True, False]


def test_windows_as_long_as_all_positions_are_full_attention() -> None:
    import transformers

    config = transformers.MistralConfig(**COMMON, sliding_window=512)
    assert adopted(transformers.MistralForCausalLM(config), "model").shape.whole == [0, 1, 2]


def test_keys_that_turn_otherwise_are_refused() -> None:
    """GLM turns neighbouring channels; a padding token, whose embedding is 0, must not hide it."""
    import transformers

    sizes = COMMON | {"num_hidden_layers": 2, "head_dim": 16}
    config = transformers.GlmConfig(**sizes, pad_token_id=0)
    with pytest.raises(BadInput, match="glm: its keys cannot be moved"):
        adopted(transformers.GlmForCausalLM(config), "model")
    scaled = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    with pytest.raises(BadInput, match="dynamic"):
        adopted(transformers.LlamaForCausalLM(transformers.LlamaConfig(**COMMON, rope_parameters=scaled)), "model")


def test_models_that_cannot_be_adopted() -> None:
    import transformers

    config = transformers.MistralConfig(**COMMON, sliding_window=16)
    with pytest.raises(BadInput, match="every layer already has a window of 16"):
        adopted(transformers.MistralForCausalLM(config), "model")
    with pytest.raises(BadInput, match="bloom"):
        adopted(
            transformers.BloomForCausalLM(transformers.BloomConfig(vocab_size=97, hidden_size=32, n_head=2)), "head"
        )
