"""Distillation brings a model with a bounded cache nearer to itself with the full one."""

import copy
from typing import Any

import pytest
import torch

from l2m_design.architecture.plans import CachePlan, Kept
from l2m_design.model.adopted import shape_of
from l2m_design.model.planned import PlannedModel
from l2m_design.training.distil import distil
from l2m_design.training.healing import Healing
from l2m_design.training.start import with_states
from tests.model.hybrids import hybrid
from tests.model.test_adopted import adopted, build
from tests.model.test_planned import rule


def test_the_divergence_falls_and_gradients_reach_evicted_context() -> None:
    model = build("Llama")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0 if weight.ndim == 2 else 1.0)  # so that attention chooses, and what is evicted matters
    made = adopted(model, "model")
    before = [weight.clone() for weight in made.model.parameters()]
    rule = {name: value.clone() for name, value in made.use.state_dict().items()}
    window = torch.randint(0, 97, (70,), generator=torch.Generator().manual_seed(0))
    losses = distil(made, [window] * 12, rate=2e-4)
    assert losses[-1] < 0.5 * losses[0]
    assert any(not torch.equal(old, new) for old, new in zip(before, made.model.parameters(), strict=True))
    assert all(torch.equal(value, rule[name]) for name, value in made.use.state_dict().items())


def test_gradients_pass_through_the_slots() -> None:
    """A token that was read only through a slot, chunks later, has a gradient."""
    made = adopted(build("Llama"), "layer")
    embedded = made.model.get_input_embeddings().weight.requires_grad_()
    tokens = torch.arange(1, 65)[None]
    made(tokens)[0, -1].square().sum().backward()
    assert embedded.grad is not None
    first = embedded.grad[1]  # the first token is a sink, 63 tokens before
    assert float(first.abs().sum()) > 0


POOLED = Kept("sparse", window=12, sinks=2, chunk=8, allocate="model")


@pytest.mark.parametrize("kind", ["Llama", "Qwen3Next", "OlmoHybrid", "Lfm2"])
def test_gradients_pass_through_pooled_slots(kind: str) -> None:
    """Also beside recurrent layers, whose states go on from chunk to chunk."""
    model: Any = build("Llama") if kind == "Llama" else hybrid(kind)
    shape = with_states(model.config, shape_of(model, bounded=False))
    plan = CachePlan.own(shape)
    for layer in shape.whole:
        plan = plan.but(layer, range(shape.kv_heads), POOLED)
    made = PlannedModel(model, plan, rule(len(shape.whole) * shape.kv_heads, shape.head_dim))
    embedded = model.get_input_embeddings().weight.requires_grad_()
    made(torch.arange(1, 65)[None])[0, -1].square().sum().backward()
    assert float(embedded.grad[1].abs().sum()) > 0  # a sink, 63 tokens before


def loud() -> Any:
    model = build("Llama")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0 if weight.ndim == 2 else 1.0)
    return model


WINDOW = torch.randint(0, 97, (70,), generator=torch.Generator().manual_seed(0))
PLAN = CachePlan.alike([Kept("window", window=9)] * 3, 2)


def test_low_rank_changes_are_merged_into_the_weights() -> None:
    pytest.importorskip("peft")
    model, before = loud(), copy.deepcopy(loud())
    made = PlannedModel(model, PLAN)
    losses = distil(made, [WINDOW] * 12, Healing(840, "lora", rank=2), rate=2e-3)
    assert losses[-1] < 0.8 * losses[0]
    after = dict(model.named_parameters())
    assert after.keys() == dict(before.named_parameters()).keys()
    assert not any(weight.requires_grad for weight in after.values())
    changes = {name: after[name] - weight for name, weight in before.named_parameters()}
    moved = {name for name, change in changes.items() if change.abs().max() > 0}
    assert moved
    assert all("_proj" in name for name in moved)  # neither embeddings nor norms nor the head
    assert all(torch.linalg.matrix_rank(changes[name], rtol=1e-3) <= 2 for name in moved)
    assert {type(module) for module in model.modules()} == {type(module) for module in before.modules()}
    again = PlannedModel(loud(), PLAN)
    assert distil(again, [WINDOW] * 12, Healing(840, "lora", rank=2), rate=2e-3) == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize("kind", ["planned", "adopted"])
def test_hidden_states_draw_near_to_the_teachers(kind: str) -> None:
    """Also where the cache is read in pieces. Held against states by hand, of the own past alone they are equal."""
    model = loud()
    made = PlannedModel(model, PLAN) if kind == "planned" else adopted(model, "model")
    plain = distil(copy.deepcopy(made), [WINDOW])[0]
    weighed = distil(copy.deepcopy(made), [WINDOW], Healing(70, hidden=10.0))[0]
    losses = distil(made, [WINDOW] * 12, Healing(840, hidden=10.0), rate=2e-4)
    assert weighed > plain + 1e-3
    assert losses[0] == pytest.approx(weighed, rel=1e-5)
    assert losses[-1] < 0.8 * losses[0]
    whole = PlannedModel(loud(), CachePlan.alike([Kept("full")] * 3, 2))
    assert distil(whole, [WINDOW], Healing(70, hidden=10.0))[0] == pytest.approx(0, abs=1e-4)


def test_steps_too_small_for_weights_of_sixteen_bits_add_up() -> None:
    model = loud().bfloat16()
    before = copy.deepcopy(model)
    distil(PlannedModel(model, PLAN), [WINDOW] * 20, rate=5e-5)
    weights = zip(before.model.layers.parameters(), model.model.layers.parameters(), strict=True)
    moved = [float((new != old)[old.abs() > 0.1].float().mean()) for old, new in weights if old.ndim == 2]
    assert len(moved) == 3 * 7
    assert min(moved) > 0.2  # a step of 5e-5 is a tenth of what tells numbers above 0.1 apart
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
