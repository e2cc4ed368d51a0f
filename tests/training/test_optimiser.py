"""The optimiser: who is stepped by what, with which share of the rate, and how it is kept."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from l2m_design.architecture import Architecture
from l2m_design.model import LanguageModel, build
from l2m_design.training import muon
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
    matrix_part, adamw = optimiser_of(built, recipe("muon")).parts
    names = {id(p): name for name, p in built.named_parameters()}
    matrices = [names[id(p)] for group in matrix_part.param_groups for p in group["params"]]
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


@pytest.mark.parametrize("together", [1, 2048, 2**26])
def test_muon_is_batched_on_gpus_and_steps_as_torchs(monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    """Wide, tall and square matrices, one of them without a gradient."""
    monkeypatch.setattr(muon, "TOGETHER", together)
    shapes = [(32, 64), (64, 32), (32, 64), (40, 40), (7, 5), (32, 64), (32, 64)]
    weights = [torch.randn(shape) for shape in shapes]
    optimisers = [
        kind([{"params": [nn.Parameter(w.clone()) for w in weights], "weight_decay": 0.3}], lr=0.02, momentum=0.9)
        for kind in (torch.optim.Muon, muon.BatchedMuon)
    ]
    ours, theirs = (optimiser.param_groups[0]["params"] for optimiser in optimisers)
    for _ in range(3):
        for one, two in zip(ours[1:], theirs[1:], strict=True):
            one.grad = torch.randn_like(one)
            two.grad = one.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for weight, one, two in zip(weights, ours, theirs, strict=True):
        off = (one - two).abs().max() / (one - weight).abs().max().clamp(min=1e-9)
        assert off < 1e-3, weight.shape  # a last bit of bfloat16 at most
    torch.testing.assert_close(*(optimiser.state_dict()["state"] for optimiser in optimisers))


class Operations(TorchDispatchMode):
    """Counts what torch is asked for."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_more_layers_ask_no_more_operations_of_muon_in_batches() -> None:
    counts = []
    for depth in (1, 4):
        built = model(layers=LAYERS * depth)
        optimiser = optimiser_of(built, recipe("muon"), fused=True)
        step(built, optimiser)
        with Operations() as operations:
            optimiser.parts[0].step()
        counts.append(operations.count)
    assert counts[0] == counts[1] > 0


def test_only_gpus_have_muon_in_batches() -> None:
    kinds = [type(optimiser_of(model(), recipe("muon"), fused).parts[0]) for fused in (None, True)]
    assert kinds == [torch.optim.Muon, muon.BatchedMuon]


@pytest.mark.parametrize(
    ("name", "fused", "after"),
    [
        ("muon", None, None),
        ("muon", None, True),
        ("muon", True, None),
        ("adamw", None, None),
        ("adamw", True, True),
    ],
)
def test_what_is_kept_and_restored_goes_on_alike(name: str, fused: bool | None, after: bool | None) -> None:
    """Also where another kind of device goes on."""
    whole = model()
    kept = optimiser_of(whole, recipe(name), fused)
    step(whole, kept)
    again = model()
    again.load_state_dict(whole.state_dict())
    restored = optimiser_of(again, recipe(name), after)
    restored.restore({number: {k: v.clone() for k, v in own.items()} for number, own in kept.state().items()})
    step(whole, kept)
    step(again, restored)
    for (where, ours), theirs in zip(whole.named_parameters(), again.parameters(), strict=True):
        off = 0.0 if fused == after else 1e-4
        torch.testing.assert_close(ours, theirs, rtol=off, atol=off, msg=where)
