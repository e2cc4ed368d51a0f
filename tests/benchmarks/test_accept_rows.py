"""The rows of accept_gpu.py: what a probe, a section and the clock make of them, without starting a process."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.model import acceptance, build
from l2m_design.model.acceptance import Check, Found, judge
from l2m_design.model.acceptance_values import passed
from l2m_design.model.kernels import TORCH
from l2m_design.model.probing import Probe

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import accept_gpu
from accept_gpu import BUDGET, LEAST, SECTIONS, SMALL, Bench, Journal

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("found", "works"),
    [
        ({"found": False, "reason": "not installed"}, None),
        ({"reason": "not tried: needs a CUDA GPU, the device is cpu"}, None),
        ({"reason": "does not load: undefined symbol"}, None),
        ({"loads": True, "reason": "compiling: stopped after 60 s", "stopped": True}, None),
        ({"loads": True, "error": 1e-3, "reason": "timing: stopped after 60 s", "stopped": True}, True),
        ({"loads": True, "error": 1e-3, "speed": 0.7, "reason": "agrees, at 0.70 of torch's speed"}, True),
        ({"loads": True, "error": 1e-3, "speed": 1.7, "used": True}, True),
        ({"loads": True, "error": 1.0, "reason": "differs from torch by 1", "wrong": True}, False),
        ({"reason": "loading: the process crashed (signal 11)", "wrong": True}, False),
    ],
)
def test_only_a_probe_that_found_something_wrong_fails(found: dict[str, Any], works: bool | None) -> None:
    probe = Probe("fast", "window", "bfloat16", **{"found": True, "seconds": 2.0, **found})
    apart: Any = SimpleNamespace(wait=lambda: probe)
    row = judge("kernels", ("window", lambda: accept_gpu.probe_found(apart)))
    assert row.works is works
    assert row.late is (probe.stopped and works is None)
    assert probe.reason in row.found


class Clock:
    """Stands for the module `time`: it moves while a check is made, and not else."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def section(self, checks: int, seconds: float) -> Any:
        """A section of so many checks, each of which takes so long."""

        def check() -> Found:
            self.now += seconds
            return Found("right")

        return lambda bench: [(f"check {number}", check) for number in range(checks)]


def accepted(
    monkeypatch: pytest.MonkeyPatch, sections: dict[str, tuple[int, float]], budget: float = BUDGET
) -> tuple[Journal, float]:
    """The rows of these sections (each so many checks of so many seconds), and when the last one ended."""
    clock = Clock()
    monkeypatch.setattr(accept_gpu, "time", clock)
    monkeypatch.setattr(acceptance, "_free", lambda: None)  # it takes longer than all else here
    made = {name: clock.section(*sections.get(name, (1, 1.0))) for name in SECTIONS}
    monkeypatch.setattr(accept_gpu, "SECTIONS", made)
    journal = Journal(None, [], clock.now)
    assert accept_gpu.accept(Bench(CPU, SMALL, True, journal), list(SECTIONS), budget) == []
    return journal, clock.now


def taken(journal: Journal, section: str) -> int:
    """Checks of a section that were made."""
    return sum(row["works"] is True for row in journal.rows if row["section"] == section)


def test_all_sections_are_reached_by_default_however_long_each_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LEAST.keys() == SECTIONS.keys()
    assert sum(LEAST.values()) <= BUDGET < 600
    journal, end = accepted(monkeypatch, dict.fromkeys(SECTIONS, (300, 2.0)))
    for name, least in LEAST.items():
        assert 2.0 * taken(journal, name) >= least - 2.0, name
    assert BUDGET - 2.0 <= end <= BUDGET + 2.0
    assert [words.partition(" (")[0] for words in journal.not_verified()] == list(SECTIONS)


def test_what_a_section_leaves_of_its_time_is_for_those_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, end = accepted(monkeypatch, {"layers": (17, 25.0)})
    assert end == len(SECTIONS) - 1 + 17 * 25.0
    assert journal.not_verified() == []


def test_a_short_budget_goes_to_the_first_sections_and_names_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, _ = accepted(monkeypatch, {"values": (3, 50.0), "kernels": (2, 29.0)}, budget=100)
    assert [taken(journal, name) for name in ("machine", "values", "kernels", "recipe")] == [1, 2, 0, 0]
    left = list(SECTIONS)[list(SECTIONS).index("kernels") :]
    assert journal.not_verified() == ["values (check 2)", *left]
    assert journal.summary()["not_verified"] == journal.not_verified()


def test_a_check_that_is_stopped_is_named_as_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Found:
        while True:
            pass

    monkeypatch.setitem(accept_gpu.LIMIT, "flex", 0.05)
    checks: list[Check] = [("first", endless), ("second", lambda: Found("right"))]
    monkeypatch.setitem(accept_gpu.SECTIONS, "flex", lambda bench: checks)
    journal = Journal(None, [], accept_gpu.time.time())
    accept_gpu.accept(Bench(CPU, SMALL, False, journal), ["flex"], BUDGET)
    assert journal.not_verified() == ["flex (first)"]


@pytest.mark.parametrize("name", SMALL.types)
def test_each_mixer_type_is_checked_with_every_kernel_that_it_calls(name: str) -> None:
    called = set()

    def watch(field: str) -> Any:
        def call(*inputs: Any) -> Any:
            called.add(field)
            return getattr(TORCH, field)(*inputs)

        return call

    layer = SMALL.types[name]
    drawn = Architecture.parse({"vocabulary": 256, "width": SMALL.width, "layers": [layer]}, "drawn")
    model = build(drawn, replace(TORCH, **{field: watch(field) for field in vars(TORCH)}))
    passed(model, torch.zeros(1, SMALL.values, dtype=torch.long))
    known = accept_gpu.calls(layer, SMALL.width)
    assert called <= known
    assert called or not known or name in ("sparse, attention_mass", "sparse, use")  # which read by blocks of their own
