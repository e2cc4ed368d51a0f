"""Compiling: a graph for each type of layer at the shapes of training, and nothing is compiled after the first step."""

from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

import l2m_design.training.run as run
from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.model import LanguageModel, build
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import train

CPU = torch.device("cpu")
SPEC = "santa-fe:beta=0.5,pairs=128,keys=8,documents=64"
RECIPE = Recipe(length=64, tokens=64 * 4 * 8, batch_tokens=256, windows=16, rungs=(0.25, 0.75), compile=True)
ATTENTION: dict[str, Any] = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8}
MAMBA: dict[str, Any] = {"kind": "mamba2", "d_state": 8, "head_dim": 8}


def drawing(*layers: dict[str, Any]) -> Architecture:
    return Architecture.parse({"vocabulary": 10, "width": 16, "layers": list(layers)}, "drawing")


def compiled_so_far() -> tuple[int, int]:
    """Frames and graphs."""
    return counters["frames"]["ok"], counters["stats"]["unique_graphs"]


@pytest.fixture(autouse=True)
def by_a_backend_for_cpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Traced in full, generating no code; a function compiled too often is an error instead of a warning."""
    monkeypatch.setattr(
        LanguageModel, "compile_layers", partialmethod(LanguageModel.compile_layers, backend="aot_eager")
    )
    monkeypatch.setattr(run, "check_compile", lambda recipe, device: None)
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


def test_blocks_of_one_type_share_a_graph_and_only_training_is_compiled() -> None:
    model = build(drawing(*[ATTENTION] * 6))
    model.compile_layers()
    tokens = torch.randint(0, 10, (4, 33))
    for _ in range(2):
        model.mean_nats(tokens).backward()
    assert counters["stats"]["unique_graphs"] == 1
    for length in (33, 17, 9):
        model.nats(tokens[:3, :length])
    _, state = model.prefill(tokens[:, :5])
    with torch.no_grad():
        model.step(tokens[:, 5], state)
    assert counters["stats"]["unique_graphs"] == 1


def test_more_types_of_layers_than_a_function_may_have_graphs_are_all_compiled() -> None:
    default = torch._dynamo.config.recompile_limit
    with torch._dynamo.config.patch(recompile_limit=3):
        model = build(drawing(*[ATTENTION | {"rope_theta": 1e3 + number} for number in range(5)]))
        model.compile_layers(backend="eager")
        model.mean_nats(torch.randint(0, 10, (4, 33))).backward()
        assert counters["stats"]["unique_graphs"] == 5
    assert torch._dynamo.config.recompile_limit == default


def test_a_run_compiles_nothing_after_it_was_ready(tmp_path: Path) -> None:
    """Not at rungs, in evaluation, at contexts, from a checkpoint on; and it learns what an eager run learns."""
    architecture, corpus = drawing(MAMBA, ATTENTION, ATTENTION | {"window": 16, "sinks": 2}), open_corpus(SPEC)
    ready: list[tuple[int, int]] = []

    def trained(recipe: Recipe, **options: Any) -> float:
        result = train(architecture, corpus, recipe, CPU, on_ready=lambda: ready.append(compiled_so_far()), **options)[
            1
        ]
        return result.late_loss

    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    eager = trained(RECIPE.model_copy(update={"compile": False}))
    assert ready == [(0, 0)]
    with pytest.raises(KeyboardInterrupt):
        trained(RECIPE, on_step=interrupt, checkpoint=tmp_path / "run")
    assert ready[1] == compiled_so_far() > (0, 0)
    assert trained(RECIPE, checkpoint=tmp_path / "run") == pytest.approx(eager, abs=2e-3)
    assert ready[2] == compiled_so_far()
