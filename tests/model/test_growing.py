"""Keys and values that grow in place: states stay values, whatever is continued from them and in whatever mode."""

from typing import Any

import pytest
import torch
from torch import Tensor

from l2m_design.architecture import Architecture
from l2m_design.model import LanguageModel, build, state_elements
from l2m_design.model.generate import select_rows
from l2m_design.model.growing import with_room

HEADS = {"heads": 2, "kv_heads": 1, "head_dim": 8}
LAYERS: dict[str, list[dict[str, Any]]] = {
    "attention": [{"kind": "attention", **HEADS}],
    "window": [{"kind": "attention", "window": 20, **HEADS}],
    "window and sinks": [{"kind": "attention", "window": 20, "sinks": 2, **HEADS}],
    "sparse": [{"kind": "sparse_attention", "chunk": 8, "keep": 2.0, "exponent": 0.6, **HEADS}],
    "latent": [{"kind": "mla", "heads": 2, "head_dim": 8, "kv_rank": 8, "rope_dim": 4}],
    "shared": [{"kind": "attention", **HEADS}, {"kind": "attention", "share": 0, **HEADS}],
}


def model_of(kind: str) -> LanguageModel:
    torch.manual_seed(0)
    plain = {"vocabulary": 32, "width": 16, "layers": LAYERS[kind]}
    return build(Architecture.parse(plain, kind)).eval()


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, 32, (2, 160), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_branches_of_one_state_do_not_see_each_other(kind: str, tokens: Tensor) -> None:
    model = model_of(kind)
    _, start = model.prefill(tokens[:, :100])
    _, start = model.step(tokens[:, 100], with_room(start))
    other = tokens.flip(0)
    one = two = three = start
    for at in range(101, 150):
        first, one = model.step(tokens[:, at], one)
        second, two = model.step(other[:, at], two)
        third, three = model.step(tokens[:, at], three)
        assert torch.equal(first, third)
    whole, _ = model.prefill(tokens[:, :150])
    branched, _ = model.prefill(torch.cat([tokens[:, :101], other[:, 101:150]], dim=1))
    torch.testing.assert_close(first, whole[:, -1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(second, branched[:, -1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_step_writes_only_what_is_new(tokens: Tensor) -> None:
    model = model_of("attention")
    _, state = model.prefill(tokens[:, :128])
    state = with_room(state)
    places, states = set(), []
    for at in range(128, 145):
        _, state = model.step(tokens[:, at], state)
        places.add(state[0].keys.untyped_storage().data_ptr())
        states.append(state)
    assert len(places) == 1
    elements = state_elements(states[0])
    assert state_elements(states[-1]) == elements * 145 // 129
    memory = states[-1][0].keys.untyped_storage().nbytes()
    assert memory <= 1.13 * states[0][0].keys.numel() * 4


@torch.no_grad()
def test_rows_that_are_selected_go_on_by_themselves(tokens: Tensor) -> None:
    model = model_of("window")
    _, state = model.prefill(tokens[:, :100])
    _, state = model.step(tokens[:, 100], with_room(state))
    alone = select_rows(state, [1])
    for at in range(101, 140):
        both, state = model.step(tokens[:, at], state)
        one, alone = model.step(tokens[1:, at], alone)
        torch.testing.assert_close(one[0], both[1])


def test_a_state_is_gone_on_from_in_another_mode(tokens: Tensor) -> None:
    model = model_of("attention")
    with torch.inference_mode():
        _, state = model.prefill(tokens[:, :100])
        _, state = model.step(tokens[:, 100], with_room(state))
    with torch.no_grad():
        plain, _ = model.step(tokens[:, 101], state)
    whole, _ = model.prefill(tokens[:, :102])
    torch.testing.assert_close(plain, whole[:, -1])


def test_gradients_survive_a_step_from_the_same_state(tokens: Tensor) -> None:
    model = model_of("attention")
    with torch.no_grad():
        _, state = model.prefill(tokens[:, :100])
        _, state = model.step(tokens[:, 100], with_room(state))
    logits, _ = model.step(tokens[:, 101], state)
    with torch.no_grad():
        model.step(tokens[:, 102], state)
    logits.sum().backward()
    assert torch.isfinite(model.embedding.weight.grad).all()


@torch.no_grad()
def test_a_window_keeps_no_memory_of_the_prompt_behind_it(tokens: Tensor) -> None:
    model = model_of("window")
    _, state = model.prefill(tokens[:, :30])
    _, state = model.prefill(tokens[:, 30:150], with_room(state))
    assert state[0].keys.untyped_storage().nbytes() == state[0].keys.numel() * 4
    _, alone = model.prefill(tokens[:, :150])
    torch.testing.assert_close(alone[0].keys, state[0].keys)


@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_room_for_a_state_that_holds_nothing_changes_nothing(kind: str, tokens: Tensor) -> None:
    model = model_of(kind)
    found, _ = model.prefill(tokens[:, :100], with_room(model.empty(2)))
    wanted, _ = model.prefill(tokens[:, :100])
    assert torch.equal(found, wanted)


def test_room_takes_no_part_in_gradients(tokens: Tensor) -> None:
    model = model_of("attention")
    _, state = model.prefill(tokens[:, :100])
    assert with_room(state)[0].room is None
    with torch.no_grad():
        _, state = model.prefill(tokens[:, :100])
    roomy = with_room(state)
    assert not roomy[0].keys.requires_grad
    logits, after = model.step(tokens[:, 100], roomy)
    assert after[0].room is None
    logits.sum().backward()
    assert torch.isfinite(model.embedding.weight.grad).all()
