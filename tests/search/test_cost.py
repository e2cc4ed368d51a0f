"""The model of cost: what was measured on a GPU lies in its ranges, and it follows what a study asks for."""

import json

import pytest

from l2m_design.architecture import Architecture
from l2m_design.search.cost import H100, LAUNCHING, REACHED, Planned, cost_of
from l2m_design.search.settings import StudySettings
from tests.command import l2m

ATTENTION = {"kind": "attention", "heads": 8, "kv_heads": 4, "head_dim": 64}
MAMBA = {"kind": "mamba2", "d_state": 128, "head_dim": 64}
RECIPE = {"length": 4096, "tokens": 100_000_000, "batch_tokens": 65_536, "rungs": [0.1]}
FINALISTS = {"top": 3, "seeds": 2, "tokens": 1_000_000_000, "lengths": [4096, 8192], "rates": [0.5, 1.0]}


def drawing(layers: list[dict], width: int, vocabulary: int = 256) -> Architecture:
    return Architecture.parse({"vocabulary": vocabulary, "width": width, "layers": layers}, "drawing")


def planned(designs: list[Architecture] | None = None, trials: int = 10, **settings) -> Planned:
    asked = {"name": "x", "corpus": "c", "space": "s", "demand": {"beta": 0.7}, "recipe": RECIPE} | settings
    study = StudySettings.parse(asked | {"search": {"trials": trials}}, "study")
    return Planned(study, designs or [drawing([ATTENTION] * 12, 640)], 0, 0, 8_000_000, 4)


@pytest.mark.parametrize(
    ("layers", "width", "rate", "gib"),
    [([ATTENTION] * 12, 640, 367_628, 21.5), ([MAMBA, MAMBA, MAMBA, ATTENTION] * 3, 576, 211_083, 39.6)],
    ids=["attention", "hybrid"],
)
def test_what_an_h200_did_lies_in_the_ranges(layers: list[dict], width: int, rate: int, gib: float) -> None:
    """docs/lab-book.md, 2026-11-26: tokens per second, and GiB at 65,536 tokens per step."""
    found = cost_of(planned([drawing(layers, width)], trials=1))
    low, high = found.hours_h100["trials"]
    assert 0.9 * low < RECIPE["tokens"] / rate / 3600 < 1.1 * high
    assert 0.9 * found.memory_gib[0] < gib < 1.1 * found.memory_gib[1]


def test_hours_are_operations_over_the_rate_of_the_device() -> None:
    design = drawing([ATTENTION] * 2, 128)
    found = cost_of(planned([design], trials=10))
    steps = RECIPE["tokens"] // RECIPE["batch_tokens"]
    trained, scored = 16 * steps * 3, 96 * 2.25
    assert found.hours_h100["trials"][0] == pytest.approx(
        10 * design.flops(4096) * (trained + scored) / (H100 * REACHED[1]) / 3600
    )
    assert found.hours_h100["trials"][1] == pytest.approx(10 * steps * 2 * LAUNCHING[1] / 3600, rel=0.1)
    assert found.hours_cpu["trials"][0] > 100 * found.hours_h100["trials"][0]
    assert "finalists" not in found.hours_h100
    assert found.readings == {"trial": pytest.approx(12.5, rel=0.01)}


def test_trials_and_finalists_are_told_apart() -> None:
    alone, both = cost_of(planned()), cost_of(planned(finalists=FINALISTS))
    assert both.hours_h100["trials"] == alone.hours_h100["trials"]
    one = alone.hours_h100["trials"][0]  # 10 runs of 100 M tokens; finalists: 3 of 2 seeds, 2 lengths, tuned and picked
    assert both.hours_h100["finalists"][0] == pytest.approx(3 * (2 * 2 + 2 + 1) * one, rel=0.2)
    assert both.readings["finalist"] == pytest.approx(125, rel=0.01)
    assert cost_of(planned(trials=20)).hours_h100["trials"][0] == pytest.approx(2 * one)


def test_memory_falls_with_fewer_windows_at_once_and_with_recomputing() -> None:
    whole = cost_of(planned()).memory_gib
    half = cost_of(planned(recipe=RECIPE | {"micro_batch": 8})).memory_gib
    again = cost_of(planned(recipe=RECIPE | {"recompute": True})).memory_gib
    assert again[1] < half[1] < whole[1]
    assert half[1] == pytest.approx(whole[1] / 2, rel=0.1)


def test_a_dry_run_says_what_a_study_costs_on_a_machine_that_cannot_run_it(study) -> None:
    words = ("search", "study.yaml", "--dry-run", "--set", "recipe.compile=true", "--set", "device=cpu")
    done = l2m(*words, cwd=study.parent)
    assert done.returncode == 0
    assert "this study cannot run on this machine: compile: for GPUs only" in done.stderr
    for line in (
        "time on one H100, without starting processes and compiling: trials",
        "time on 1 CPU threads: trials",
        "GPU memory: ",
        "disk space for weights",
    ):
        assert line in done.stdout
    cost = json.loads(l2m(*words, "--json", cwd=study.parent).stdout)["cost"]
    assert set(cost) == {"hours_h100", "hours_cpu", "threads", "memory_gib", "disk_gib", "readings"}
