"""A trial in its own process: results come back, and so do the reasons of every kind of death."""

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch

from l2m_design.search.executors import processes
from l2m_design.search.executors.processes import Job, Outcome, _listen, run_isolated
from l2m_design.training.result import Result

ARCHITECTURE = {"vocabulary": 10, "width": 16, "layers": [{"kind": "mamba2", "d_state": 4, "head_dim": 8}]}
CORPUS = "santa-fe:beta=0.5,pairs=128,keys=8,documents=64"
RECIPE = {"length": 64, "tokens": 2048, "batch_tokens": 256, "windows": 8, "rungs": [0.5], "optimiser": "adamw"}


def job(**changes) -> Job:
    fields = {"architecture": ARCHITECTURE, "corpus": CORPUS, "recipe": RECIPE, "device": "cpu", "threads": 1,
              "weights": None}  # fmt: skip
    return Job(**{**fields, **changes})


def test_a_result_and_its_weights_come_back(tmp_path: Path) -> None:
    steps, rungs, curve = [], [], []
    outcome = run_isolated(
        job(weights=str(tmp_path / "w" / "0.safetensors")),
        lambda rung: rungs.append(rung.tokens) is None,
        lambda done, total, points: steps.append((done, total)) or curve.extend(points),
    )
    assert outcome.reason is None
    assert outcome.result is not None
    assert Result.of_plain(outcome.result).tokens == 2048
    assert (tmp_path / "w" / "0.safetensors").exists()
    assert rungs == [1024]
    assert steps[-1] == (8, 8)
    assert [list(point) for point in curve] == [list(point) for point in outcome.result["curve"]]


def test_a_run_told_to_stop_stops() -> None:
    outcome = run_isolated(job(), lambda rung: False)
    assert outcome.stopped
    assert outcome.result is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"corpus": "nowhere.txt"}, "BadInput: nowhere.txt: no such corpus"),
        ({"device": "nonsense"}, "device nonsense"),
        (
            {"recipe": RECIPE | {"length": 10_000, "batch_tokens": 10_000, "tokens": 10_000}},
            "no document is as long as",
        ),
    ],
)
def test_an_error_comes_back_as_its_reason(changes: dict, words: str) -> None:
    outcome = run_isolated(job(**changes), lambda rung: True)
    assert outcome.reason is not None
    assert words in outcome.reason


def test_too_little_memory_comes_back_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*arguments: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")

    monkeypatch.setattr(processes, "_train", starved)
    monkeypatch.setattr(processes, "_context", lambda: multiprocessing.get_context("fork"))
    outcome = run_isolated(job(), lambda rung: True)
    assert outcome.reason == "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert outcome.out_of_memory


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


def test_the_time_limit_counts_from_where_the_run_is_ready() -> None:
    ours, theirs = Pipe()

    def compile_for_longer_than_the_limit() -> None:
        time.sleep(1.3)
        theirs.send(("ready", None))
        time.sleep(0.1)
        theirs.send(("end", Outcome(stopped=True)))

    thread = threading.Thread(target=compile_for_longer_than_the_limit)
    thread.start()
    assert _listen(ours, lambda rung: True, lambda *of: None, 1.0, lambda: False) == Outcome(stopped=True)
    thread.join()
    theirs.send(("ready", None))
    late = _listen(ours, lambda rung: True, lambda *of: None, 0.1, lambda: False)
    assert late is not None
    assert late.reason == "took longer than search.trial_minutes"


def test_weights_that_cannot_be_kept_do_not_cost_the_result() -> None:
    outcome = run_isolated(job(weights="/dev/null/0.safetensors"), lambda rung: True)
    assert outcome.result is not None
    assert outcome.reason is None
    assert outcome.note is not None
    assert outcome.note.startswith("the weights could not be saved: ")


def test_a_run_ended_on_its_way_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    def kill_at_the_second(rung) -> bool:
        if rung.tokens == 1536:
            for child in _grandchildren():
                os.kill(child, signal.SIGKILL)
        return True

    rungs, steps = [], []
    kept = job(recipe=RECIPE | {"rungs": [0.25, 0.75]}, checkpoint=str(tmp_path / "0.checkpoint"))
    assert run_isolated(kept, kill_at_the_second).reason == "killed (out of memory?)"
    assert (tmp_path / "0.checkpoint").exists()
    outcome = run_isolated(kept, lambda rung: rungs.append(rung.tokens) is None, lambda *of: steps.append(of[0]))
    assert outcome.result is not None
    assert rungs == [512, 1536]
    assert steps[0] > 2
    assert not (tmp_path / "0.checkpoint").exists()


def test_jobs_that_wait_at_a_rung_keep_their_checkpoints_when_the_executor_stops(tmp_path: Path) -> None:
    from l2m_design.search.executors.base import Executor, Looked
    from l2m_design.search.executors.processes import run_stubbornly

    kept = job(recipe=RECIPE | {"rungs": [0.25, 0.75]}, checkpoint=str(tmp_path / "0.checkpoint"))
    executor = Executor(1, lambda slot, job, calls: run_stubbornly(job, calls.on_rung, calls.on_step, calls.stopped))
    executor.submit(0, kept)
    looks = 0
    while looks < 2:
        event = executor.next()
        if isinstance(event, Looked):
            looks += 1
            if looks == 1:
                event.answer(True)
    executor.stop()
    assert (tmp_path / "0.checkpoint").exists()


def test_the_wait_for_an_answer_is_not_the_jobs_time() -> None:
    def slow_answer(rung) -> bool:
        time.sleep(3.0)
        return True

    assert run_isolated(job(), slow_answer, time_limit=2.5).result is not None


def test_a_job_that_is_ended_by_sigterm_goes_on_as_one_that_was_killed() -> None:
    def end_all_children(rung) -> bool:
        for child in _grandchildren():
            os.kill(child, signal.SIGTERM)
        return True

    assert run_isolated(job(), end_all_children).killed


@pytest.mark.parametrize("shard", [False, True])
def test_a_trial_of_two_processes_comes_back_as_one_of_one(shard: bool) -> None:
    one, two = (run_isolated(job(processes=count, shard=shard), lambda rung: True) for count in (1, 2))
    assert one.result is not None
    assert two.result is not None
    assert two.result["late_loss"] == pytest.approx(one.result["late_loss"], abs=1e-4)


def test_a_trial_of_two_processes_over_its_time_leaves_none_behind() -> None:
    import psutil

    seen: list[psutil.Process] = []

    def look(done: int, total: int, points: object) -> None:
        for worker in _grandchildren():
            seen.extend(psutil.Process(worker).children())

    long = RECIPE | {"tokens": 50_000_000}
    outcome = run_isolated(job(recipe=long, processes=2), lambda rung: True, look, time_limit=2.0)
    assert outcome.reason == "took longer than search.trial_minutes"
    assert seen
    _, alive = psutil.wait_procs(set(seen), timeout=20)
    assert not alive
    assert not _grandchildren()


def test_more_processes_than_a_batch_can_be_shared_by_is_a_reason() -> None:
    outcome = run_isolated(job(processes=3), lambda rung: True)
    assert outcome.reason is not None
    assert "recipe.batch_tokens" in outcome.reason


def _grandchildren() -> list[int]:
    """Training processes: children of our fork server."""
    import psutil

    servers = [p for p in psutil.Process().children() if "forkserver" in " ".join(p.cmdline())]
    return [child.pid for server in servers for child in server.children() if child.status() != psutil.STATUS_ZOMBIE]
