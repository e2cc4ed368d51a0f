"""Planned caches: exact against the model itself, in any pieces and batches, and held to the byte that the law says."""

from typing import Any

import pytest
import torch

from l2m_design.architecture.plans import FULL, NONE, SHARE, CachePlan, Kept
from l2m_design.errors import BadInput
from l2m_design.model.adopted import AdoptedModel, shape_of
from l2m_design.model.generate import select_rows
from l2m_design.model.planned import PlannedModel
from l2m_design.model.resumed import recorded, resumed
from l2m_design.model.use import Use
from tests.model.test_adopted import LENGTH, build, tokens

SPARSE = Kept("sparse", window=12, sinks=2, chunk=8)
GROWS = Kept("sparse", sinks=2, chunk=8, exponent=0.7, keep=1.5)
HEAVY = Kept("sparse", window=12, sinks=2, chunk=8, choose="attention_mass")
POOLED = Kept("sparse", window=12, sinks=2, chunk=8, allocate="model")
SINKS = Kept("sinks+window", window=10, sinks=3)
EVERY = {
    "window": Kept("window", window=9),
    "sinks+window": SINKS,
    "none": NONE,
    "sparse": SPARSE,
    "grows": GROWS,
    "attention": HEAVY,
    "pooled": POOLED,
}


def rule(heads: int, head_dim: int) -> Use:
    """Random, but not flat."""
    made = Use(heads, head_dim, head_dim)
    torch.manual_seed(1)
    torch.nn.init.normal_(made.weight, std=0.3)
    return made


def planned(model: Any, plan: CachePlan) -> PlannedModel:
    shape = shape_of(model, bounded=False)
    return PlannedModel(model, plan, rule(len(shape.whole) * shape.kv_heads, shape.head_dim))


def mixed() -> CachePlan:
    """Layers that keep unlike, one of them head by head."""
    return CachePlan(((SPARSE, SPARSE), (SINKS, FULL), (GROWS, Kept("window", window=7))))


def held_bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value[0].numel() * value.element_size()
    return sum(map(held_bytes, value)) if isinstance(value, tuple) else 0


@pytest.mark.parametrize("kind", ["Llama", "Qwen3", "Qwen2"])
def test_a_plan_of_what_the_model_keeps_is_the_model(kind: str) -> None:
    model = build(kind)
    with torch.no_grad():
        want = model(tokens()).logits
        got, state = planned(model, CachePlan.own(shape_of(model, bounded=False))).prefill(tokens())
        assert (got - want).abs().max() < 1e-5
        assert torch.equal(model(tokens()).logits, want)  # its own attention is back
    assert state.seen == LENGTH


@pytest.mark.parametrize("kept", EVERY.values(), ids=EVERY)
def test_pieces_steps_and_batches_read_alike(kept: Kept) -> None:
    made = planned(build("Llama"), CachePlan.alike((kept, FULL, kept), 2))
    with torch.no_grad():
        whole, end = made.prefill(tokens())
        state, parts = None, []
        for first, last in ((0, 5), (5, 40), (40, 41), (41, 42), (42, LENGTH)):
            logits, state = made.prefill(tokens()[:, first:last], state)
            parts.append(logits)
        assert (torch.cat(parts, 1) - whole).abs().max() < 1e-5
        alone, _ = made.prefill(tokens()[1:])
        assert (alone - whole[1:]).abs().max() < 1e-5
        for last in (2, 7, 8, 9, 17):  # across borders of chunks
            ending, _ = made.prefill(tokens(), last=last)
            assert (ending - whole[:, -last:]).abs().max() < 1e-5
        next_, _ = made.step(tokens()[1:, 0], select_rows(end, [1]))
        both, _ = made.step(tokens()[:, 0], end)
        assert (next_ - both[1:]).abs().max() < 1e-5


@pytest.mark.parametrize("kept", [*EVERY.values(), FULL], ids=[*EVERY, "full"])
def test_the_state_is_the_laws_to_the_byte(kept: Kept) -> None:
    made = planned(build("Llama"), CachePlan.alike((kept, SINKS, kept), 2).but(1, [1], kept))
    state = made.empty(2)
    with torch.no_grad():
        for t in range(1, LENGTH):
            _, state = made.step(tokens()[:, t - 1], state)
            assert held_bytes(state.parts) + held_bytes(state.pool) == made.cache_bytes(t), t
    assert made.elements(LENGTH) == made.plan.state(16).elements(LENGTH)


def test_a_plan_of_one_pool_is_the_adopted_model_whose_heads_all_compete() -> None:
    model = build("Llama")
    made = planned(model, CachePlan.alike((SPARSE,) * 3, 2).competing())  # type: ignore[arg-type]
    same = AdoptedModel(model, SPARSE.budget, "model", made.use)
    with torch.no_grad():
        want, whole = same.prefill(tokens())
        got, state = made.prefill(tokens())
        apart, _ = planned(model, CachePlan.alike((SPARSE,) * 3, 2)).prefill(tokens())
    assert (got - want).abs().max() < 1e-5
    assert state.pool[0].counts.tolist() == whole.slots.counts.tolist()
    assert len(set(state.pool[0].counts[0].tolist())) > 1  # heads hold unlike numbers
    assert (got - apart).abs().max() > 1e-4


def test_a_pool_of_unlike_budgets_holds_their_sum() -> None:
    plan = CachePlan(((SPARSE, SPARSE), (SINKS, FULL), (GROWS, Kept("window", window=7)))).competing()
    assert plan
    assert plan.picture == "S H H"
    made = planned(build("Llama"), plan)
    assert len(made.parts) == 5
    state = made.empty(2)
    with torch.no_grad():
        for t in range(1, LENGTH):
            _, state = made.step(tokens()[:, t - 1], state)
            assert held_bytes(state.parts) + held_bytes(state.pool) == made.cache_bytes(t), t
    assert CachePlan.of_plain(plan.plain(), 2) == plan


def test_heads_compete_across_layers_where_some_do() -> None:
    """Not of one layer, not of unlike chunks, not by attention."""
    for layers in [(SPARSE, FULL, FULL), (SPARSE, Kept("sparse", 12, 2, 16), FULL), (HEAVY, HEAVY, HEAVY)]:
        assert CachePlan.alike(layers, 2).competing() is None
    with pytest.raises(ValueError, match="not a cache"):
        Kept.of_plain({"cache": "window", "window": 4, "allocate": "model"})
    unlike = (POOLED, Kept("sparse", 12, 2, 16, allocate="model"), FULL)
    with pytest.raises(BadInput, match="the same chunk"):
        planned(build("Llama"), CachePlan.alike(unlike, 2))


def test_heads_of_a_layer_may_keep_unlike() -> None:
    """Read together or by themselves, a head reads the same."""
    model = build("Llama")
    plan = mixed()
    with torch.no_grad():
        whole, _ = planned(model, plan).prefill(tokens())
        wide = CachePlan((*plan.layers[:1], (Kept("sinks+window", 500, 3), FULL), *plan.layers[2:]))
        all_kept, _ = planned(model, wide).prefill(tokens())
        want, _ = planned(model, plan.but(1, [0], FULL)).prefill(tokens())
    assert (all_kept - want).abs().max() < 1e-5
    assert (whole - want).abs().max() > 1e-4
    assert plan.picture == "S H H"


@pytest.mark.parametrize("kept", [*EVERY.values(), FULL], ids=[*EVERY, "full"])
def test_a_shared_cache_is_that_of_the_layer_below(kept: Kept) -> None:
    """In pieces and whole, without a byte of its own; the layer reads keys and values of the one below."""
    model = build("Llama")
    made = planned(model, CachePlan.alike((kept, SHARE, SHARE), 2))
    with torch.no_grad():
        whole, _ = made.prefill(tokens())
        state, parts = made.empty(2), []
        for first, last in ((0, 5), (5, 40), (40, 41), (41, LENGTH)):
            logits, state = made.prefill(tokens()[:, first:last], state)
            parts.append(logits)
        assert held_bytes(state.parts) + held_bytes(state.pool) == made.cache_bytes(LENGTH)
    assert (torch.cat(parts, 1) - whole).abs().max() < 1e-5
    assert made.cache_bytes(LENGTH) == planned(model, CachePlan.alike((kept, NONE, NONE), 2)).cache_bytes(LENGTH)
    assert made.plan.picture.endswith("a a")


def test_shared_keys_in_the_weights_make_a_shared_cache_the_model_itself() -> None:
    """Two layers whose keys and values are alike: the second needs no cache of its own."""
    model = build("Llama")
    reads: list[torch.Tensor] = []
    below, above = (model.model.layers[at].self_attn for at in (0, 1))
    for name in ("k_proj", "v_proj"):
        getattr(below, name).register_forward_hook(lambda *given: reads.append(given[2]))
        getattr(above, name).register_forward_hook(lambda *_: reads.pop(0))
    own = CachePlan.own(shape_of(model, bounded=False))
    with torch.no_grad():
        want = model(tokens()).logits
        reads.clear()
        made = planned(model, own.but(1, [0, 1], SHARE))
        reads.clear()
        assert (made(tokens()) - want).abs().max() < 1e-5


def test_a_cache_that_nobody_below_has_is_refused() -> None:
    own = CachePlan.own(shape_of(build("Llama"), bounded=False))
    for plan in (own.but(0, [0, 1], SHARE), own.but(1, [0], SHARE)):
        with pytest.raises(BadInput, match="cache: share must be that of all heads"):
            planned(build("Llama"), plan)


def test_heads_that_compete_in_a_layer_read_as_an_adopted_model_does() -> None:
    """One rule, one layer: AdoptedModel is the slow twin."""
    model = build("Llama")
    whole = rule(6, 16)
    twin = AdoptedModel(model, SPARSE.budget, "layer", whole)
    made = PlannedModel(model, CachePlan.alike((SPARSE,) * 3, 2), whole)
    with torch.no_grad():
        assert (made(tokens()) - twin(tokens())).abs().max() < 1e-5
    assert made.cache_bytes(LENGTH) == twin.cache_bytes(LENGTH)


@pytest.mark.parametrize("kind", ["Llama", "Qwen2"])
def test_a_pass_resumed_at_any_layer_is_the_whole_pass(kind: str) -> None:
    model = build(kind)
    with torch.no_grad(), recorded(model) as hidden:
        want = model(tokens()).logits
    assert len(hidden) == 3
    own = planned(model, CachePlan.own(shape_of(model, bounded=False)))
    for layer in range(3):
        with torch.no_grad(), resumed(model, layer, hidden[layer]):
            assert (model(tokens() * 0).logits - want).abs().max() < 1e-5  # tokens are not read
            assert (own(tokens()) - want).abs().max() < 1e-5
    with torch.no_grad():
        assert torch.equal(model(tokens()).logits, want)


def test_native_plans_are_those_of_full_attention_and_one_window() -> None:
    shape = shape_of(build("Llama"))
    window = Kept("window", 9)
    assert CachePlan.alike((FULL, window, window), 2).native(shape) == 9
    assert CachePlan.own(shape).native(shape) == 0
    for other in (SINKS, NONE, SPARSE, Kept("window", 8)):
        assert CachePlan.alike((FULL, window, other), 2).native(shape) is None


def test_plans_come_back_from_what_was_written() -> None:
    plan = mixed()
    assert CachePlan.of_plain(plan.plain(), 2) == plan
    for wrong in ([{"cache": "best"}], [{"cache": "window"}], [[{"cache": "full"}]], [{"cache": "full", "size": 3}]):
        with pytest.raises((ValueError, TypeError)):
            CachePlan.of_plain(wrong, 2)


def test_own_windows_may_shrink_alone() -> None:
    model = build("Qwen2")
    own = CachePlan.own(shape_of(model, bounded=False))
    made = planned(model, own.but(2, [0, 1], Kept("window", 6)))
    assert made.cache_bytes(LENGTH) < planned(model, own).cache_bytes(LENGTH)
    for wider in (FULL, Kept("window", 21), SPARSE):
        with pytest.raises(BadInput, match="layer 2: has a window of 20 tokens"):
            planned(model, own.but(2, [0], wider))
    with pytest.raises(BadInput, match="a plan of 2 layers for a model of 3"):
        planned(model, CachePlan.alike((FULL, FULL), 2))
