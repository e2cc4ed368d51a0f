"""The rows on memory of accept_gpu.py: that a batch must run out of any card's memory, and what counts as right."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.model import build
from l2m_design.model.acceptance import Skipped
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.space import Space
from l2m_design.settings import override

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import accept_path
from accept_path import DEEP, LEAST, LENGTH, STUDY, WIDTH, Ended

GPU = torch.device("cuda")
CARDS = (79 * 2**30, 140 * 2**30)


def drawn() -> Architecture:
    """The only architecture of the space."""
    return Space.model_validate(DEEP).draw(lambda name, options: options[0], 2)


def kept(architecture: Architecture, windows: int, length: int) -> float:
    """Bytes per token that a pass in bfloat16 keeps for the gradient, each storage once."""
    model = build(architecture)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held: dict[int, torch.Tensor] = {}

    def pack(z: torch.Tensor) -> torch.Tensor:
        if (at := z.untyped_storage().data_ptr()) not in weights:
            held[at] = z
        return z

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda z: z), torch.autocast("cpu", dtype=torch.bfloat16):
        model.mean_nats(torch.zeros(windows, length + 1, dtype=torch.long))
    return sum(z.untyped_storage().nbytes() for z in held.values()) / (windows * length)


@pytest.mark.parametrize("memory", CARDS)
def test_a_pass_over_the_whole_batch_needs_twice_the_memory_and_nothing_else_is_too_large(memory: int) -> None:
    design, windows = drawn(), accept_path.large(memory)
    tokens = windows * LENGTH
    assert (len(design.layers), design.width) == (DEEP["depth"], WIDTH)
    found = kept(design, 2, 256)
    assert LEAST <= found / (WIDTH * len(design.layers)) < 1.5 * LEAST
    assert 2 * memory < tokens * found < 3 * memory
    assert tokens * 2 * WIDTH < 2**31
    assert windows * 2 < 2**16
    assert 3 * design.flops(LENGTH) * windows < 1e14  # a second


def answered(windows: int, *records: dict[str, Any], code: int = 1) -> Any:
    """Stands for a search: takes settings that can be read and ask for so many windows at once, and answers this."""

    def search(folder: Path, device: torch.device, *words: str) -> Ended:
        settings = StudySettings.model_validate(override(STUDY, words[1::2]))
        assert settings.recipe.batch == accept_path.large(CARDS[0])
        assert settings.recipe.micro_batch == (windows or "auto")
        assert settings.recipe.steps == settings.search.trials == 1
        states = [record["state"] for record in records]
        return Ended(code, {s: states.count(s) for s in ("complete", "infeasible", "failed")}, list(records))

    return search


def ended(state: str, reason: str | None = None, at_once: int | None = None) -> dict[str, Any]:
    return {"state": state, "reason": reason, "result": {"micro_batch": at_once} if at_once else None}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many windows the batch has on a card that is not there."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=CARDS[0]))
    return accept_path.large(CARDS[0])


@pytest.mark.parametrize(
    ("records", "works"),
    [
        ([ended("infeasible", "out of memory: CUDA out of memory. Tried to allocate 2 GiB")], True),
        ([ended("infeasible", "parameters: none fits")], False),
        ([ended("failed", "RuntimeError: CUDA error: invalid configuration argument")], False),
        ([ended("infeasible", "out of memory: CUDA"), ended("failed", "took longer")], False),
        ([ended("complete", at_once=5400)], False),
        ([], False),
    ],
)
def test_a_batch_beyond_memory_is_infeasible_for_that_reason_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, card: int, records: list[dict[str, Any]], works: bool
) -> None:
    monkeypatch.setattr(accept_path, "search", answered(card, *records))
    assert accept_path._out_of_memory(tmp_path, GPU).works is works


@pytest.mark.parametrize(
    ("record", "code", "works"),
    [
        (ended("complete", at_once=1350), 0, True),
        (ended("complete", at_once=5400), 0, False),  # was never out of memory
        (ended("infeasible", "out of memory: CUDA"), 1, False),
    ],
)
def test_the_same_batch_completes_in_smaller_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, card: int, record: dict[str, Any], code: int, works: bool
) -> None:
    monkeypatch.setattr(accept_path, "search", answered(0, record, code=code))
    found = accept_path._halved(tmp_path, GPU)
    assert found.works is works
    assert f"of {card:,} windows at once" in found.words


def test_a_cpu_is_not_brought_out_of_memory(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="would end other processes"):
        accept_path._out_of_memory(tmp_path, torch.device("cpu"))
