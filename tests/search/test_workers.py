"""A trial in its own process: results come back, and so do the reasons of every kind of death."""

import os
import signal
from pathlib import Path

import pytest

from l2m_design.search.workers import Job, run_isolated
from l2m_design.training.result import Result

ARCHITECTURE = {"vocabulary": 10, "width": 16, "layers": [{"kind": "mamba2", "d_state": 4, "head_dim": 8}]}
CORPUS = "santa-fe:beta=0.5,pairs=128,keys=8,documents=64"
RECIPE = {"length": 64, "tokens": 2048, "batch_tokens": 256, "windows": 8, "rungs": [0.5]}


def job(**changes) -> Job:
    fields = {"architecture": ARCHITECTURE, "corpus": CORPUS, "recipe": RECIPE, "device": "cpu", "threads": 1,
              "weights": None}  # fmt: skip
    return Job(**{**fields, **changes})


def test_a_result_and_its_weights_come_back(tmp_path: Path) -> None:
    steps, rungs = [], []
    outcome = run_isolated(
        job(weights=str(tmp_path / "w" / "0.safetensors")),
        lambda rung: rungs.append(rung.tokens) is None,
        lambda done, total: steps.append((done, total)),
    )
    assert outcome.reason is None
    assert outcome.result is not None
    assert Result.of_plain(outcome.result).tokens == 2048
    assert (tmp_path / "w" / "0.safetensors").exists()
    assert rungs == [1024]
    assert steps[-1] == (8, 8)


def test_a_run_told_to_stop_stops() -> None:
    outcome = run_isolated(job(), lambda rung: False)
    assert outcome.stopped
    assert outcome.result is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"corpus": "nowhere.txt"}, "BadInput: nowhere.txt: no such corpus"),
        ({"device": "nonsense"}, "device nonsense"),
        ({"recipe": RECIPE | {"length": 10_000, "batch_tokens": 10_000, "tokens": 10_000}}, "no document holds"),
    ],
)
def test_an_error_comes_back_as_its_reason(changes: dict, words: str) -> None:
    outcome = run_isolated(job(**changes), lambda rung: True)
    assert outcome.reason is not None
    assert words in outcome.reason


def test_a_killed_process_costs_its_trial_and_says_so() -> None:
    def kill_all_children(rung) -> bool:
        for child in _grandchildren():
            os.kill(child, signal.SIGKILL)
        return True

    outcome = run_isolated(job(), kill_all_children)
    assert outcome.reason == "killed (out of memory?)"


def test_a_run_over_its_time_is_ended() -> None:
    long = RECIPE | {"tokens": 50_000_000}
    outcome = run_isolated(job(recipe=long), lambda rung: True, time_limit=4.0)
    assert outcome.reason is not None
    assert "trial_minutes" in outcome.reason
    assert not _grandchildren()


def _grandchildren() -> list[int]:
    """Training processes: children of our fork server."""
    import psutil

    servers = [p for p in psutil.Process().children() if "forkserver" in " ".join(p.cmdline())]
    return [child.pid for server in servers for child in server.children() if child.status() != psutil.STATUS_ZOMBIE]
