"""Runs in MLflow are there once each and come to an end, whatever cuts a search or a send off."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from l2m_design.search.record import Record
from l2m_design.search.results.finalists import FinalJob, FinalRun
from l2m_design.search.run import Interrupted
from l2m_design.search.tracking.content import DESIGN, Shown
from l2m_design.search.tracking.runs import PARENT, RUN, STUDY
from l2m_design.search.tracking.store import EXPERIMENT
from l2m_design.search.tracking.tracker import StudyRun, Tracker
from l2m_design.terms import Terms
from l2m_design.training.result import Result
from tests.command import l2m
from tests.search.conftest import result
from tests.search.sent import parents_of, runs_of, sent_runs, trials_of

SHOWN = Shown(Terms())
CALLS = ("log_inputs", "create_run", "log_batch", "set_terminated", "log_text", "update_run", "log_artifact")


CORPUS = {"name": "stdlib", "fingerprint": "f" * 64, "source": "stdlib"}


class Killed(BaseException):
    """As if the process were killed: nothing that an error would set off runs."""


def test_a_send_that_is_cut_off_anywhere_is_completed_and_nothing_is_sent_twice(
    uri: str, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after each call that a study of one trial and one finalist makes."""
    job = FinalJob("all attention", records[0].architecture, 64, 1.0, 1)
    final = FinalRun(job, Result.of_plain(result(1.0)), recipe="a recipe")
    outcome = tmp_path / "study.json"
    outcome.write_text("{}")
    left = {"calls": -1.0}

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **named: Any) -> Any:
            left["calls"] -= 0.5
            if left["calls"] == 0:
                raise Killed(f"before {name}")
            answer = call(*arguments, **named)
            left["calls"] -= 0.5
            if left["calls"] == 0:
                raise Killed(f"after {name}")
            return answer

        return counting

    for name in CALLS:
        monkeypatch.setattr(MlflowClient, name, counted(name, getattr(MlflowClient, name)))

    def send(name: str) -> None:
        ledger = tmp_path / f"{name}.json"
        tracker = Tracker(uri, StudyRun(name, {"seed": 0, "b@d name": 1}, CORPUS), SHOWN, ledger, name)
        tracker.sync(records[:1], [final])
        tracker.finish({"chosen_loss": 1.5}, [outcome])
        assert tracker.notes == []

    send("whole")
    expected = sent_runs(uri, "whole")
    assert Counter(status for _, status, *_ in expected) == {"FINISHED": 4}  # with the run of the finalist's design
    killed = 0
    for number in range(1, 100):
        left["calls"], name = number / 2, f"killed-{number}"
        try:
            send(name)
        except Killed:
            killed += 1
            left["calls"] = -1.0
            send(name)
            assert sent_runs(uri, name) == expected, name
        else:
            break
    assert killed == 2 * 19  # log_text calls log_artifact


def test_a_search_killed_while_it_sends_goes_on_with_every_trial_once(study: Path, store: str) -> None:
    """kill -9 between a run's beginning and its end; MLflow, Optuna and study.json then say the same."""
    code = """
import os, signal, sys
from mlflow import MlflowClient
from l2m_design.cli import main
log, end, ended = MlflowClient.log_batch, MlflowClient.set_terminated, []
def ending(*arguments, **named):
    ended.append(end(*arguments, **named))
def dying(*arguments, **named):
    log(*arguments, **named)
    if ended:
        os.kill(os.getpid(), signal.SIGKILL)
MlflowClient.log_batch, MlflowClient.set_terminated = dying, ending
sys.argv = ["l2m", "search", "study.yaml", "--set", "search.trials=0", "--tracking", sys.argv[1]]
main()
"""
    process = subprocess.run([sys.executable, "-c", code, store], cwd=study.parent, check=False)
    assert process.returncode == -signal.SIGKILL
    states = Counter(trials_of(store).values())  # of the trials that had begun
    assert states["FINISHED"] == 1
    assert states["RUNNING"] == states.total() - 1 >= 1
    assert parents_of(store) == ["RUNNING"]
    words = ("search", "study.yaml", "--set", "search.trials=0", "--tracking", store, "--resume", "--json")
    done = l2m(*words, cwd=study.parent)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert not any(note.startswith("tracking") for note in answer["notes"])
    kept = json.loads((study.parent / "reports/tiny/study.json").read_text())["records"]
    expected = {str(row["number"]): row["state"] for row in kept}
    assert trials_of(store).keys() == expected.keys()
    assert set(trials_of(store).values()) == {"FINISHED"}
    assert set(expected.values()) == {"complete"}
    assert parents_of(store) == ["FINISHED"]


def test_an_interrupt_ends_open_runs_as_killed_and_the_resumed_study_takes_them_up(
    opened, trained, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    end = MlflowClient.set_terminated

    def interrupted(self: MlflowClient, run: str, status: str = "FINISHED") -> None:
        ended.append(run)
        if len(ended) == 3:
            raise KeyboardInterrupt
        end(self, run, status)

    monkeypatch.setattr(MlflowClient, "set_terminated", interrupted)
    with pytest.raises(Interrupted):
        opened().run()
    assert parents_of(store) == ["KILLED"]
    left = Counter(trials_of(store).values())
    assert left.keys() == {"FINISHED", "KILLED"}
    assert left["FINISHED"] == 2
    summary = opened().run(resume=True)
    assert not any(note.startswith("tracking") for note in summary["notes"])
    assert parents_of(store) == ["FINISHED"]
    assert len(trials_of(store)) == len(summary["records"])
    assert set(trials_of(store).values()) == {"FINISHED"}
    assert ended[2] in {run.info.run_id for run in runs_of(store)}


def test_a_terminated_search_leaves_no_run_open(study: Path, store: str, start, until) -> None:
    search = start("search", "study.yaml", "--tracking", store)
    database = study.parent / "mlflow.db"

    def first_trial_is_sent() -> bool:
        assert search.process.poll() is None, search.said
        if not database.exists():
            return False
        with sqlite3.connect(database, timeout=30) as connection:
            try:
                return bool(connection.execute("select 1 from runs where status = 'FINISHED'").fetchall())
            except sqlite3.OperationalError:
                return False

    until(first_trial_is_sent)
    search.process.terminate()
    assert search.process.wait(60) == 1
    assert "continue with: l2m search" in search.said
    assert parents_of(store) == ["KILLED"]
    assert "RUNNING" not in trials_of(store).values()


def test_failed_work_ends_the_study_as_failed(opened, trained, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2m_design.search.run.summarise", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        opened("search.trials=0").run()
    assert parents_of(store) == ["FAILED"]


def test_a_lost_ledger_doubles_nothing(opened, trained, store: str) -> None:
    search = opened("search.trials=0")
    search.run()
    before = {run.info.run_id for run in runs_of(store)}
    (search.folder.path / "tracked.json").unlink()
    opened("search.trials=0").run(resume=True)
    assert {run.info.run_id for run in runs_of(store)} == before


def test_a_fresh_study_of_the_same_settings_has_runs_of_its_own(opened, trained, store: str) -> None:
    opened("search.trials=0").run()
    before = {run.info.run_id for run in runs_of(store)}
    opened("search.trials=0").run(fresh=True)
    assert parents_of(store) == ["FINISHED", "FINISHED"]
    assert len({run.data.tags[STUDY] for run in runs_of(store)}) == 2
    assert len(runs_of(store)) == 2 * len(before)


def test_what_an_earlier_version_sent_is_not_sent_again(uri: str, records: list[Record], tmp_path: Path) -> None:
    """It set no tags, and a finalist's recipe was not in its ledger."""
    client, ledger = MlflowClient(uri), tmp_path / "ledger.json"
    client.create_experiment(EXPERIMENT)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    parent = client.create_run(experiment).info.run_id
    final = FinalRun(FinalJob("all attention", records[0].architecture, 64, 1.0, 1), None, "failed", "a recipe")
    sent = {"parent": parent, "experiment": experiment, "0": "0" * 32, final.job.fingerprint: "1" * 32}
    ledger.write_text(json.dumps({uri: sent}))
    tracker = Tracker(uri, StudyRun("old"), SHOWN, ledger, "old")
    tracker.sync(records[:2], [final])
    tracker.finish({}, [])
    assert tracker.notes == []
    told = sent_runs(uri, "old")
    assert [(key, status) for key, status, *_ in told] == [("1", "FINISHED"), (PARENT, "FINISHED")]
    assert client.get_run(parent).data.tags[STUDY] == "old"


def test_finalists_of_another_recipe_are_other_runs(uri: str, records: list[Record], tmp_path: Path) -> None:
    job = FinalJob("all attention", records[0].architecture, 64, 1.0, 1)
    finals = [FinalRun(job, Result.of_plain(result(loss)), None, str(loss)) for loss in (1.0, 2.0)]
    tracker = Tracker(uri, StudyRun("finals"), SHOWN, tmp_path / "ledger.json", "finals")
    for runs in (finals[:1], finals[1:], finals):
        tracker.sync([], runs)
    sent = [(key, histories) for key, _, _, histories, _ in sent_runs(uri, "finals") if key != PARENT]
    losses = [histories["late_loss"] for key, histories in sent if not key.startswith(DESIGN)]
    assert losses == [[(0, 1.0)], [(0, 2.0)]]


def test_a_run_that_a_slow_server_made_twice_is_deleted(uri: str, records: list[Record], tmp_path: Path) -> None:
    tracker = Tracker(uri, StudyRun("twice"), SHOWN, tmp_path / "ledger.json", "twice")
    tracker.sync(records[:1])
    [one] = [run for run in tracker._runs.found() if run.data.tags[RUN] == "0"]
    client = MlflowClient(uri)
    other = client.create_run(one.info.experiment_id, tags={STUDY: "twice", RUN: "0"}).info.run_id
    tracker.finish({}, [])
    assert [(key, status) for key, status, *_ in sent_runs(uri, "twice")] == [("0", "FINISHED"), (PARENT, "FINISHED")]
    assert client.get_run(other).info.lifecycle_stage == "deleted"
    assert client.get_run(one.info.run_id).info.status == "FINISHED"
