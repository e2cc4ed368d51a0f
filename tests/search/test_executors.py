"""Several jobs at once on one machine: every planned trial once, whatever is killed."""

import itertools
import os
import random
import signal
import time
from pathlib import Path

import optuna
import psutil
import pytest

from l2m_design.errors import BadInput
from l2m_design.model.backends import usable_cores
from l2m_design.search.executors import local, processes
from l2m_design.search.executors.local import places

MORE = ("recipe.tokens=8192", "recipe.rungs=[0.25, 0.5, 0.75]", "search.pruner=none")


def database(search) -> str:
    return search.storage_url


def test_threads_are_divided_among_workers(opened) -> None:
    two = places(opened("workers=2", "threads=null", "device=cpu").settings)
    assert [place.threads for place in two] == [max(1, usable_cores() // 2)] * 2
    assert [place.threads for place in places(opened("workers=3", "device=cpu").settings)] == [1] * 3


def test_gpus_are_dealt_out_in_shares_of_a_trial(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "gpus", lambda: 5)

    def devices(workers: int, each: int) -> list[str]:
        settings = opened(f"workers={workers}", f"gpus_per_trial={each}").settings
        return [place.device for place in places(settings)]

    assert devices(3, 1) == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices(3, 2) == ["cuda:0", "cuda:2", "cuda:0"]
    assert devices(1, 4) == ["cuda:0"]
    settings = opened().settings.model_copy(update={"gpus_per_trial": 8})
    with pytest.raises(BadInput, match="gpus_per_trial: found 8, but this machine has 5 GPUs"):
        places(settings)


def test_batches_that_processes_cannot_share_are_refused_before_any_work(opened) -> None:
    with pytest.raises(BadInput, match="256 hold 4 windows of 64, which cannot be divided evenly among 3 processes"):
        opened("gpus_per_trial=3")
    with pytest.raises(BadInput, match="128 hold 1 windows of 128, which cannot be divided evenly among 2 processes"):
        opened("gpus_per_trial=2", "finalists={lengths: [128], batch_tokens: 128, tokens: 4096}")
    with pytest.raises(BadInput, match="shard: requires gpus_per_trial: 2 or more"):
        opened("shard=true")


def test_two_workers_do_every_planned_trial_once_at_the_same_time(opened, exactly_once) -> None:
    search = opened("workers=2", "recipe.tokens=4096")
    search.run()
    exactly_once(database(search), 8)
    assert len(list((search.folder.path / "weights").iterdir())) >= 6  # the known designs, at least, are complete
    trials = optuna.load_study(study_name="tiny", storage=database(search)).trials
    pairs = itertools.combinations([t for t in trials if t.values], 2)
    assert any(a.datetime_start < b.datetime_complete and b.datetime_start < a.datetime_complete for a, b in pairs)


def test_a_killed_trial_goes_on_from_its_checkpoint(opened, exactly_once, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[int] = []
    train = processes.run_isolated

    def watched(job, on_rung, on_step, *rest) -> processes.Outcome:
        began: list[int] = []

        def kill_at_the_third(rung) -> bool:
            if rung.tokens == 6144 and len(starts) == 0:
                for trial in _trials_of(psutil.Process()):
                    trial.kill()
            return on_rung(rung)

        outcome = train(job, kill_at_the_third, lambda *of: began.append(of[0]) or on_step(*of), *rest)
        starts.append(began[0])
        return outcome

    monkeypatch.setattr(processes, "run_isolated", watched)
    search = opened("search.trials=2", "search.known_designs=false", *MORE)
    summary = search.run()
    assert starts[0] == 1
    assert starts[1] > 16  # of 32 steps: the rung at 16 had written one
    assert summary["trials"]["complete"] == 2
    exactly_once(database(search), 2)


def test_a_search_killed_at_any_time_goes_on_to_the_same_plan(study: Path, start, kept, exactly_once, until) -> None:
    url = f"sqlite:///{study.parent}/runs/tiny/optuna.db"
    words = ["search", "study.yaml", "--tracking", "sqlite:///mlflow.db", "--set", "workers=2"]
    chance = random.Random(4)
    for records in (1, 4):
        search = start(*words)
        until(lambda records=records: len(kept(url).records) >= records, 300)
        time.sleep(chance.uniform(0.0, 2.0))
        trials = _trials_of(psutil.Process(search.process.pid))
        os.kill(search.process.pid, signal.SIGKILL)
        search.process.wait()
        _, alive = psutil.wait_procs(trials, timeout=20)
        assert not [trial for trial in alive if _lives(trial)]
        before = kept(url).records
        assert len(before) >= records
    search = start(*words, "--resume")
    assert search.process.wait(300) == 0, search.said
    after = kept(url).records
    assert before.items() <= after.items()
    exactly_once(url, 8)


def _lives(process: psutil.Process) -> bool:
    """Not so who has ended and waits for somebody to ask how."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _trials_of(worker: psutil.Process) -> list[psutil.Process]:
    """Training processes: children of a worker's fork server."""
    servers = [child for child in worker.children() if "forkserver" in " ".join(child.cmdline())]
    return [child for server in servers for child in server.children() if child.status() != psutil.STATUS_ZOMBIE]
