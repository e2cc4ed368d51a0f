"""The optimiser: who is stepped by what, with which share of the rate, and how it is kept."""

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.model import LanguageModel, build
from l2m_design.training.optimiser import MATCHED, REFERENCE_WIDTH, SHARE, Optimiser, optimiser_of
from l2m_design.training.recipe import Recipe

LAYERS = [
    {"kind": "mamba2", "d_state": 8, "head_dim": 8},
    {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "qk_norm": True, "short_conv": 4},
]
STATE_SPACE = ("norm", "A_log", "dt_bias", ".D", "conv")


def model(width: int = 16, **changes: object) -> LanguageModel:
    torch.manual_seed(0)
    return build(Architecture.parse({"vocabulary": 32, "width": width, "layers": LAYERS} | changes, "test"))


def recipe(optimiser: str) -> Recipe:
    return Recipe.parse({"optimiser": optimiser, "tokens": 4096}, "test")


@pytest.mark.parametrize("name", ["muon", "adamw"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_has_one_place_and_decay_spares_norms_and_the_state_space(name: str, tied: bool) -> None:
    built = model(tied_embeddings=tied)
    groups = optimiser_of(built, recipe(name)).param_groups
    placed = [id(p) for group in groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in built.parameters())
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    for where, p in built.named_parameters():
        assert (id(p) in decayed) != any(part in where for part in STATE_SPACE), where


def test_muon_steps_the_matrices_of_layers_and_never_tables() -> None:
    built = model(tied_embeddings=False)
    muon, adamw = optimiser_of(built, recipe("muon")).parts
    names = {id(p): name for name, p in built.named_parameters()}
    matrices = [names[id(p)] for group in muon.param_groups for p in group["params"]]
    assert all(name.startswith("blocks.") for name in matrices)
    others = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert {"embedding.weight", "head.weight"} <= others


def test_a_step_of_muon_has_the_spectral_norm_that_the_shape_asks_for() -> None:
    built = model(64)
    optimiser = optimiser_of(built, recipe("muon"))
    weight = built.blocks[1].mlp.gate.weight  # [fan out, fan in]
    before = weight.detach().clone()
    for p in built.parameters():
        p.grad = torch.randn_like(p)
    optimiser.rate(0.01)
    optimiser.parts[0].param_groups[0]["weight_decay"] = 0.0
    optimiser.step()
    norm = torch.linalg.matrix_norm(before - weight.detach(), ord=2).item()
    assert norm == pytest.approx(0.01 * MATCHED * (weight.shape[0] / weight.shape[1]) ** 0.5, rel=0.3)


@pytest.mark.parametrize("width", [16, 64])
def test_adamw_shrinks_with_fan_in_in_layers_and_not_in_tables(width: int) -> None:
    built = model(width)
    shares = {
        id(p): group[SHARE] for group in optimiser_of(built, recipe("adamw")).param_groups for p in group["params"]
    }
    gate = built.blocks[0].mlp.gate.weight
    assert shares[id(gate)] == REFERENCE_WIDTH / gate.shape[1]
    assert shares[id(built.blocks[0].mlp.down.weight)] == REFERENCE_WIDTH / built.blocks[0].mlp.down.weight.shape[1]
    assert shares[id(built.blocks[0].mixer_norm.weight)] == 1.0


def step(built: LanguageModel, optimiser: Optimiser) -> None:
    tokens = torch.randint(0, 32, (2, 24), generator=torch.Generator().manual_seed(1))
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(built(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
    optimiser.rate(0.01)
    optimiser.step()


def test_adamw_is_fused_on_gpus_and_steps_alike() -> None:
    plain, fused = model(), model()
    one, two = optimiser_of(plain, recipe("adamw")), optimiser_of(fused, recipe("adamw"), fused=True)
    assert not any(group["fused"] for group in one.param_groups)
    assert all(group["fused"] for group in two.param_groups)
    for _ in range(5):
        step(plain, one)
        step(fused, two)
    for (where, ours), theirs in zip(plain.named_parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=where)


@pytest.mark.parametrize(("name", "fused"), [("muon", None), ("adamw", None), ("adamw", True)])
def test_what_is_kept_and_restored_goes_on_alike(name: str, fused: bool | None) -> None:
    whole = model()
    kept = optimiser_of(whole, recipe(name), fused)
    step(whole, kept)
    again = model()
    again.load_state_dict(whole.state_dict())
    restored = optimiser_of(again, recipe(name), fused)
    restored.restore({number: {k: v.clone() for k, v in own.items()} for number, own in kept.state().items()})
    step(whole, kept)
    step(again, restored)
    for (where, ours), theirs in zip(whole.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, msg=where)
