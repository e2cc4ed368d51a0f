"""A step: its gradients do not depend on how many windows pass at once, and too little memory means fewer of them."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput
from l2m_design.model import LanguageModel, build
from l2m_design.model.backends import on_device
from l2m_design.training.optimiser import optimiser_of
from l2m_design.training.ranks import ALONE
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import train
from l2m_design.training.step import Work, gradients, softness

CPU = torch.device("cpu")
SPEC = "santa-fe:beta=0.5,pairs=128,keys=8,documents=64"
RECIPE = Recipe(length=64, tokens=64 * 8 * 6, batch_tokens=512, windows=16, rungs=(), optimiser="adamw")
LAYERS = [
    {"kind": "mamba2", "d_state": 8, "head_dim": 8},
    {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8},
]
DRAWING = Architecture.parse({"vocabulary": 10, "width": 16, "layers": LAYERS}, "drawing")


def work(micro_batch: int | str, windows: int) -> Work:
    torch.manual_seed(0)
    model = build(DRAWING)
    recipe = RECIPE.model_copy(update={"micro_batch": micro_batch})
    return Work(model, optimiser_of(model, recipe), recipe, CPU, ALONE, windows)


def batch(rows: int = 8) -> torch.Tensor:
    return torch.randint(0, 10, (rows, 65), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A memory that holds three windows; how many each pass asked for."""
    asked: list[int] = []
    loss = LanguageModel.mean_nats

    def mean_nats(self: LanguageModel, tokens: torch.Tensor, softness: float | None) -> torch.Tensor:
        asked.append(len(tokens))
        if len(tokens) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return loss(self, tokens, softness)

    monkeypatch.setattr(LanguageModel, "mean_nats", mean_nats)
    return asked


@pytest.mark.parametrize("windows", [1, 3, 4, 5])
def test_gradients_do_not_depend_on_how_many_windows_pass_at_once(windows: int) -> None:
    one, cut = work(8, 8), work(windows, windows)
    torch.testing.assert_close(gradients(cut, batch()), gradients(one, batch()))
    for (name, ours), theirs in zip(cut.model.named_parameters(), one.model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_where_memory_runs_out_half_as_many_windows_pass_from_then_on(small: list[int]) -> None:
    ours, whole = work("auto", 8), work(2, 2)
    loss = gradients(ours, batch())
    assert ours.windows == 2
    assert small == [8, 4, 2, 2, 2, 2]
    torch.testing.assert_close(loss, gradients(whole, batch()))
    for p, q in zip(ours.model.parameters(), whole.model.parameters(), strict=True):
        assert p.grad is not None
        assert torch.equal(p.grad, q.grad)
    gradients(ours, batch())
    assert max(small[6:]) == 2


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_are_as_precise_as_the_recipe_says_during_the_run_alone(precision: str) -> None:
    before, during = torch.get_float32_matmul_precision(), []
    recipe = RECIPE.model_copy(update={"matmul_precision": precision})
    drawn = (DRAWING, open_corpus(SPEC), recipe, CPU)
    result = train(*drawn, on_step=lambda done, total: during.append(torch.get_float32_matmul_precision()))[1]
    assert set(during) == {precision} == {result.matmul_precision}
    assert torch.get_float32_matmul_precision() == before == "highest"


def test_the_precision_of_products_is_restored_where_a_run_fails() -> None:
    recipe = RECIPE.model_copy(update={"matmul_precision": "high"})
    with pytest.raises(BadInput):
        train(Architecture.parse(DRAWING.plain() | {"vocabulary": 4}, "small"), open_corpus(SPEC), recipe, CPU)
    assert torch.get_float32_matmul_precision() == "highest"


def test_memory_that_runs_out_late_in_a_step_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that had passed before are not counted twice."""
    ours, whole, passes = work("auto", 4), work(2, 2), [0]
    loss = LanguageModel.mean_nats

    def mean_nats(self: LanguageModel, tokens: torch.Tensor, softness: float | None) -> torch.Tensor:
        passes[0] += 1
        if passes[0] == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return loss(self, tokens, softness)

    monkeypatch.setattr(LanguageModel, "mean_nats", mean_nats)
    gradients(ours, batch())
    gradients(whole, batch())
    for p, q in zip(ours.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


@pytest.mark.parametrize(("micro_batch", "windows"), [(4, 4), ("auto", 1)])
def test_a_fixed_number_of_windows_or_a_single_one_is_not_halved(
    monkeypatch: pytest.MonkeyPatch, micro_batch: int | str, windows: int
) -> None:
    def mean_nats(self: LanguageModel, tokens: torch.Tensor, softness: float | None) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LanguageModel, "mean_nats", mean_nats)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        gradients(work(micro_batch, windows), batch())


def test_a_run_says_how_many_windows_passed_at_once(small: list[int]) -> None:
    _, halved = train(DRAWING, open_corpus(SPEC), RECIPE, CPU)
    _, fixed = train(DRAWING, open_corpus(SPEC), RECIPE.model_copy(update={"micro_batch": 3}), CPU)
    assert (halved.micro_batch, fixed.micro_batch) == (2, 3)
    assert halved.late_loss == pytest.approx(fixed.late_loss, abs=1e-4)


@pytest.mark.parametrize("micro_batch", [0, "all", 1.5])
def test_a_micro_batch_is_a_number_of_windows_or_auto(micro_batch: Any) -> None:
    with pytest.raises(BadInput, match="micro_batch"):
        Recipe.parse({"micro_batch": micro_batch}, "recipe")


def test_a_gpu_takes_tokens_from_pinned_memory_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Held:
        def pin_memory(self) -> "Held":
            told.append("pinned")
            return self

        def to(self, device: torch.device, non_blocking: bool = False) -> None:
            told.append((device.type, non_blocking))

    tokens = np.zeros((2, 3), np.int64)
    assert np.shares_memory(on_device(tokens, CPU).numpy(), tokens)
    monkeypatch.setattr(torch, "from_numpy", lambda array: Held())
    on_device(tokens, torch.device("cuda"))
    assert told == ["pinned", ("cuda", True)]


def test_a_choice_by_use_hardens_and_ends_as_that_of_the_cache() -> None:
    course = [softness(step / 100) for step in range(100)]
    soft = [each for each in course if each is not None]
    assert len(soft) == 70
    assert soft[0] == 0.5
    assert all(later < earlier for earlier, later in itertools.pairwise(soft))
    assert soft[-1] == pytest.approx(0.05, rel=0.05)
    assert course[70:] == [None] * 30
