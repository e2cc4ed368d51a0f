"""Hybrid models of Hugging Face: recurrent layers keep their own states under any cache plan, to the byte."""

import pytest
import torch

from l2m_design.architecture.plans import FULL, CachePlan, Kept
from l2m_design.architecture.readers.carried import recurrent_states
from l2m_design.errors import BadInput
from l2m_design.model.adopted import FullModel, shape_of
from l2m_design.model.generate import select_rows
from l2m_design.model.hybrid import sizes_of
from l2m_design.model.resumed import recorded, resumed
from l2m_design.training.start import with_states
from tests.model.hybrids import HYBRIDS, hybrid
from tests.model.test_adopted import LENGTH, adopted, tokens
from tests.model.test_planned import EVERY, held_bytes, planned

PIECES = ((0, 5), (5, 40), (40, 41), (41, 42), (42, LENGTH))


def plan_of(kind: str, kept: Kept) -> CachePlan:
    """The first layer of attention keeps this, everything else what it does by itself."""
    shape = shape_of(hybrid(kind), bounded=False)
    own = CachePlan.own(with_states(hybrid(kind).config, shape))
    return own.but(shape.whole[0], range(shape.kv_heads), kept)


@pytest.mark.parametrize("kind", HYBRIDS)
def test_the_readers_know_what_recurrent_layers_keep(kind: str) -> None:
    model = hybrid(kind)
    found = recurrent_states(model.config.to_dict(), model.config.layer_types)
    assert [(kept.elements, kept.floats) for kept in found] == sizes_of(model)
    assert len(found) == 2


@pytest.mark.parametrize("kind", HYBRIDS)
def test_a_plan_of_what_a_hybrid_keeps_is_the_model_in_any_pieces(kind: str) -> None:
    model = hybrid(kind)
    made = planned(model, plan_of(kind, FULL))
    with torch.no_grad():
        want, state, parts = model(tokens()).logits, None, []
        for first, last in PIECES:
            logits, state = made.prefill(tokens()[:, first:last], state)
            parts.append(logits)
    assert (torch.cat(parts, 1) - want).abs().max() < 1e-5
    assert made.plan.picture == "R A R A"


@pytest.mark.parametrize("kept", EVERY.values(), ids=EVERY)
def test_pieces_batches_and_bytes_of_a_planned_hybrid(kept: Kept) -> None:
    made = planned(hybrid("Qwen3Next"), plan_of("Qwen3Next", kept))
    with torch.no_grad():
        whole, end = made.prefill(tokens())
        state = made.empty(2)
        for t in range(1, 30):
            logits, state = made.step(tokens()[:, t - 1], state)
            assert (logits - whole[:, t - 1]).abs().max() < 1e-5
            assert held_bytes((state.parts, state.recurrent, state.pool)) == made.cache_bytes(t), t
        before = held_bytes(end.recurrent), end.recurrent[0].memory.clone()
        alone, _ = made.step(tokens()[1:, 0], select_rows(end, [1]))
        both, _ = made.step(tokens()[:, 0], end)
    assert (alone - both[1:]).abs().max() < 1e-5
    assert torch.equal(end.recurrent[0].memory, before[1])  # a state is a value: reading on leaves it alone


@pytest.mark.parametrize("kind", ["Lfm2", "Bamba"])
def test_an_adopted_hybrid_reads_as_the_model_does_while_its_slots_hold_all(kind: str) -> None:
    model = hybrid(kind)
    made, full = adopted(model, "model", slots=500), FullModel(model)
    state, parts = None, []
    for first, last in PIECES:
        logits, state = made.prefill(tokens()[:, first:last], state)
        parts.append(logits)
    want, _ = full.prefill(tokens())
    assert (torch.cat(parts, 1) - want).abs().max() < 1e-5
    bounded = adopted(model, "model")
    _, state = bounded.prefill(tokens())
    counted = 4 * bounded.shape.kv_heads * len(bounded.shape.whole) * 1  # slots of each head are counted
    assert held_bytes((state.slots[:3], state.near, state.recurrent)) + counted == bounded.cache_bytes(LENGTH)
    assert bounded.elements(LENGTH) < full.elements(LENGTH)


@pytest.mark.parametrize("kind", ["Lfm2", "GraniteMoeHybrid"])
def test_a_pass_resumed_at_any_layer_of_a_hybrid_is_the_whole_pass(kind: str) -> None:
    model, made = hybrid(kind), planned(hybrid(kind), plan_of(kind, FULL))
    with torch.no_grad(), recorded(made.model) as hidden:
        want = model(tokens()).logits
        made(tokens())
    for layer in range(4):
        with torch.no_grad(), resumed(made.model, layer, hidden[layer]):
            assert (made(tokens() * 0) - want).abs().max() < 1e-5


def test_no_plan_changes_a_recurrent_layer() -> None:
    plan = plan_of("Lfm2", FULL)
    wrong = CachePlan(((FULL, FULL), *plan.layers[1:]))
    with pytest.raises(BadInput, match="layer 0: the plan says full, but the layer is of type conv"):
        planned(hybrid("Lfm2"), wrong)
    assert CachePlan.of_plain(plan.plain(), 2) == plan
