"""Runs in MLflow are there once each and come to an end, whatever cuts a search or a send off."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from l2m_design.errors import BadInput
from l2m_design.search import tracking
from l2m_design.search.record import Record
from l2m_design.search.results.finalists import FinalJob, FinalRun
from l2m_design.search.run import Interrupted
from l2m_design.search.tracking import EXPERIMENT, PARENT, RUN, STUDY, Tracker
from l2m_design.training.result import Result
from tests.command import l2m
from tests.search.conftest import result

CALLS = ("create_run", "log_batch", "set_terminated", "log_text", "update_run", "log_artifact")


class Killed(BaseException):
    """As if the process were killed: nothing that an error would set off runs."""


def runs_of(uri: str, name: str = EXPERIMENT) -> list[Any]:
    client = MlflowClient(uri)
    return client.search_runs([client.get_experiment_by_name(name).experiment_id], max_results=1000)


def trials_of(uri: str) -> dict[str, str]:
    """Status by name of each trial's run; fails where one is there twice."""
    children = [run for run in runs_of(uri) if "mlflow.parentRunId" in run.data.tags]
    names = Counter(run.info.run_name for run in children)
    assert set(names.values()) <= {1}, names
    return {run.info.run_name: run.info.status for run in children}


def parents_of(uri: str) -> list[str]:
    return [run.info.status for run in runs_of(uri) if "mlflow.parentRunId" not in run.data.tags]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sqlite store that several studies share."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def records(opened, trained) -> list[Record]:
    """What became of some trials."""
    summary = opened("search.trials=0", tracking="sqlite:////proc/nowhere/mlflow.db").run()
    return [Record(**row) for row in summary["records"]]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


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
        tracker = Tracker(uri, name, {"seed": 0, "b@d name": 1}, "float32", ledger, identity=name)
        tracker.sync(records[:1], [final])
        tracker.finish({"chosen_loss": 1.5}, [outcome])
        assert tracker.notes == []

    send("whole")
    expected = _told(uri, "whole")
    assert Counter(status for _, status, *_ in expected) == {"FINISHED": 3}
    killed = 0
    for number in range(1, 100):
        left["calls"], name = number / 2, f"killed-{number}"
        try:
            send(name)
        except Killed:
            killed += 1
            left["calls"] = -1.0
            send(name)
            assert _told(uri, name) == expected, name
        else:
            break
    assert killed == 2 * 16  # log_text calls log_artifact


def _told(uri: str, identity: str) -> list[Any]:
    """All that a store says of a study, in an order of its own: each metric's history too."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    told = []
    for run in client.search_runs([experiment], f"tags.`{STUDY}` = '{identity}'"):
        histories = {
            key: sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key))
            for key in sorted(run.data.metrics)
        }
        files = [file.path for file in client.list_artifacts(run.info.run_id)]
        told.append((run.data.tags[RUN], run.info.status, sorted(run.data.params.items()), histories, files))
    return sorted(told, key=lambda one: one[0])


def test_a_search_killed_while_it_sends_goes_on_with_every_trial_once(study: Path, store: str) -> None:
    """kill -9 between a run's beginning and its end; MLflow, Optuna and study.json then say the same."""
    code = """
import os, signal, sys
from mlflow import MlflowClient
from l2m_design.cli import main
log, calls = MlflowClient.log_batch, []
def dying(*arguments, **named):
    calls.append(log(*arguments, **named))
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
MlflowClient.log_batch = dying
sys.argv = ["l2m", "search", "study.yaml", "--set", "search.trials=0", "--tracking", sys.argv[1]]
main()
"""
    process = subprocess.run([sys.executable, "-c", code, store], cwd=study.parent, check=False)
    assert process.returncode == -signal.SIGKILL
    assert Counter(trials_of(store).values()) == {"FINISHED": 1, "RUNNING": 1}
    assert parents_of(store) == ["RUNNING"]
    words = ("search", "study.yaml", "--set", "search.trials=0", "--tracking", store, "--resume", "--json")
    done = l2m(*words, cwd=study.parent)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert not any(note.startswith("tracking") for note in answer["notes"])
    kept = json.loads((study.parent / "reports/tiny/study.json").read_text())["records"]
    expected = {f"{row['number']:03d} {row['picture']}": row["state"] for row in kept}
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
    assert Counter(trials_of(store).values()) == {"FINISHED": 2, "KILLED": 1}
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
    assert "go on with: l2m search" in search.said
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
    Tracker(uri, "makes the experiment", {}, "float32", tmp_path / "other.json").sync([])
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    parent = client.create_run(experiment).info.run_id
    final = FinalRun(FinalJob("all attention", records[0].architecture, 64, 1.0, 1), None, "failed", "a recipe")
    sent = {"parent": parent, "experiment": experiment, "0": "0" * 32, final.job.fingerprint: "1" * 32}
    ledger.write_text(json.dumps({uri: sent}))
    tracker = Tracker(uri, "old", {}, "float32", ledger, "old")
    tracker.sync(records[:2], [final])
    tracker.finish({}, [])
    assert tracker.notes == []
    told = _told(uri, "old")
    assert [(key, status) for key, status, *_ in told] == [("1", "FINISHED"), (PARENT, "FINISHED")]
    assert client.get_run(parent).data.tags[STUDY] == "old"


def test_finalists_of_another_recipe_are_other_runs(uri: str, records: list[Record], tmp_path: Path) -> None:
    job = FinalJob("all attention", records[0].architecture, 64, 1.0, 1)
    finals = [FinalRun(job, Result.of_plain(result(loss)), None, str(loss)) for loss in (1.0, 2.0)]
    tracker = Tracker(uri, "finals", {}, "float32", tmp_path / "ledger.json", "finals")
    for runs in (finals[:1], finals[1:], finals):
        tracker.sync([], runs)
    losses = [histories["late_loss"] for key, _, _, histories, _ in _told(uri, "finals") if key != PARENT]
    assert losses == [[(0, 1.0)], [(0, 2.0)]]


def test_a_run_that_a_slow_server_made_twice_is_deleted(uri: str, records: list[Record], tmp_path: Path) -> None:
    tracker = Tracker(uri, "twice", {}, "float32", tmp_path / "ledger.json", "twice")
    tracker.sync(records[:1])
    [one] = [run for run in tracker._found() if run.data.tags[RUN] == "0"]
    client = MlflowClient(uri)
    other = client.create_run(one.info.experiment_id, tags={STUDY: "twice", RUN: "0"}).info.run_id
    tracker.finish({}, [])
    assert [(key, status) for key, status, *_ in _told(uri, "twice")] == [("0", "FINISHED"), (PARENT, "FINISHED")]
    assert client.get_run(other).info.lifecycle_stage == "deleted"
    assert client.get_run(one.info.run_id).info.status == "FINISHED"


def test_a_deleted_experiment_is_told_before_training_with_its_remedy(opened, trained, study: Path, store: str) -> None:
    opened("search.trials=0").run()
    before = {run.info.run_id for run in runs_of(store)}
    done, client = len(trained), MlflowClient(store)
    number = client.get_experiment_by_name(EXPERIMENT).experiment_id
    client.delete_experiment(number)
    refused = l2m("search", "study.yaml", "--fresh", "--tracking", store, cwd=study.parent)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"l2m: --tracking {store}: the experiment 'l2m-design' was deleted; restore it (MLFLOW_TRACKING_URI={store} "
        f"mlflow experiments restore --experiment-id {number}), or name another in MLFLOW_EXPERIMENT_NAME\n"
    )
    assert not (study.parent / "runs" / "tiny.1").exists()
    with pytest.raises(BadInput, match="was deleted"):
        opened("search.trials=1").run(resume=True)
    assert len(trained) == done
    client.restore_experiment(number)
    opened("search.trials=0").run(resume=True)
    assert {run.info.run_id for run in runs_of(store)} == before


def test_another_experiment_is_named_in_the_environment(
    opened, trained, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened("search.trials=0").run()
    client = MlflowClient(store)
    client.delete_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    summary = opened("search.trials=0").run(resume=True)
    assert not any(note.startswith("tracking") for note in summary["notes"])
    assert len(runs_of(store, "elsewhere")) == len(summary["records"]) + 1


def test_an_experiment_that_is_deleted_while_a_study_runs_costs_no_trial(
    opened, trained, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MlflowClient.log_batch
    sent: list[str] = []

    def deleting(self: MlflowClient, run: str, **named: Any) -> None:
        log(self, run, **named)
        sent.append(run)
        if len(sent) == 3:
            self.delete_experiment(self.get_experiment_by_name(EXPERIMENT).experiment_id)

    monkeypatch.setattr(MlflowClient, "log_batch", deleting)
    summary = opened("search.trials=0").run()
    assert summary["trials"]["complete"] == 7
    [note] = [note for note in summary["notes"] if note.startswith("tracking")]
    assert "the experiment 'l2m-design' was deleted; restore it" in note
    client = MlflowClient(store)
    client.restore_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    opened("search.trials=0").run(resume=True)
    assert len(trials_of(store)) == len(summary["records"])
    assert set(trials_of(store).values()) == {"FINISHED"}
    assert parents_of(store) == ["FINISHED"]


def test_studies_of_one_name_in_one_experiment_are_not_mixed(tmp_path: Path, study: Path, store: str) -> None:
    """Two searches at once, of different settings, from folders of their own."""
    MlflowClient(store).search_experiments()  # a new sqlite store is made by one process at a time
    started = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "space.yaml").write_text((study.parent / "space.yaml").read_text())
        (folder / "study.yaml").write_text(study.read_text())
        words = ["search", "study.yaml", "--tracking", store, "--set", f"recipe.tokens={number * 1024}"]
        words += ["--set", "search.trials=0"]
        command = [sys.executable, "-m", "l2m_design", *words]
        started.append(subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True))
    for search in started:
        said = search.communicate(timeout=300)[1]
        assert search.returncode == 0, said
        assert "tracking:" not in said
    runs = runs_of(store)
    parents = {run.info.run_id: run for run in runs if "mlflow.parentRunId" not in run.data.tags}
    assert sorted(run.data.params["recipe.tokens"] for run in parents.values()) == ["1024", "2048"]
    assert {run.info.run_name for run in parents.values()} == {"tiny"}
    for run in runs:
        parent = parents[run.data.tags.get("mlflow.parentRunId", run.info.run_id)]
        assert run.data.tags[STUDY] == parent.data.tags[STUDY]
        assert run.info.status == "FINISHED"
    for number in (1, 2):
        kept = json.loads((tmp_path / str(number) / "reports/tiny/study.json").read_text())["records"]
        [parent] = [
            run.info.run_id for run in parents.values() if run.data.params["recipe.tokens"] == f"{number * 1024}"
        ]
        names = [run.info.run_name for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
        assert sorted(names) == sorted(f"{row['number']:03d} {row['picture']}" for row in kept)
    assert len(runs) == 2 + sum(run.info.run_id not in parents for run in runs)


def test_an_artifact_store_that_hangs_holds_up_nothing(
    uri: str, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = MlflowClient.log_text, list[str]()

    def hanging(self: MlflowClient, run: str, text: str, name: str) -> None:
        asked.append(run)
        time.sleep(60)

    monkeypatch.setattr(MlflowClient, "log_text", hanging)
    tracker = Tracker(uri, "hangs", {}, "float32", tmp_path / "ledger.json", "hangs")
    tracker.sync([])
    monkeypatch.setattr(tracking, "LONGEST_WAIT", 2.0)
    tracker.sync([replace(record, number=number) for number, record in enumerate(records)])
    assert len(asked) == 1  # then the store is left alone
    assert tracker.trouble is None
    assert tracker.notes == [
        "tracking: artifacts could not be stored (TimeoutError: no answer within 2 s); params and metrics do not need "
        "them, and artifacts go with the next search of this study"
    ]
    monkeypatch.setattr(MlflowClient, "log_text", store)
    monkeypatch.setattr(tracking, "LONGEST_WAIT", 30.0)
    tracker.sync(records, last=True)
    assert tracker.notes == []
    children = [one for one in _told(uri, "hangs") if one[0] != PARENT]
    assert len(children) == len(records)
    assert all(files == ["architecture.yaml"] for *_, files in children)


class Server:
    """`mlflow server` on sqlite."""

    def __init__(self, folder: Path, *words: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._folder, self._words = folder, words

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self._folder}/s.db"]
        command += ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1", *self._words]
        with (self._folder / "log.txt").open("w") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True)
        began = time.monotonic()
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                assert self._process.poll() is None, (self._folder / "log.txt").read_text()
                assert time.monotonic() - began < 180
                time.sleep(0.2)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose artifacts lie where none can be stored."""
    words = ("--default-artifact-root", "file:///proc/nowhere", "--no-serve-artifacts")
    server = Server(tmp_path_factory.mktemp("server"), *words)
    server.start()
    yield server
    with contextlib.suppress(ProcessLookupError):
        server.kill()


def test_artifacts_that_cannot_be_stored_cost_no_trial_and_are_told_once(study: Path, server: Server) -> None:
    words = ("search", "study.yaml", "--set", "search.trials=0", "--set", "name=arts", "--tracking", server.uri)
    done = l2m(*words, "--json", cwd=study.parent)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)  # MLflow would print where each run can be seen
    assert answer["trials"]["complete"] == 7
    [note] = [note for note in answer["notes"] if note.startswith("tracking")]
    assert note.startswith("tracking: artifacts could not be stored (")
    [parent] = [run for run in runs_of(server.uri) if run.info.run_name == "arts"]
    runs = [run for run in runs_of(server.uri) if run.data.tags[STUDY] == parent.data.tags[STUDY]]
    assert {run.info.status for run in runs} == {"FINISHED"}
    kept = json.loads((study.parent / "reports/arts/study.json").read_text())["records"]
    expected = sorted([f"{row['number']:03d} {row['picture']}" for row in kept] + ["arts"])
    assert sorted(run.info.run_name for run in runs) == expected
    assert all("late_loss" in run.data.metrics for run in runs if run.data.tags[RUN] != PARENT)
    again = l2m(*words, "--resume", cwd=study.parent)
    assert again.stderr.count("artifacts could not be stored") == 1
    assert "Traceback" not in again.stderr


def test_a_server_that_dies_in_the_middle_loses_nothing(
    opened, trained, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, sent = MlflowClient.log_batch, list[str]()

    def dying(self: MlflowClient, run: str, **named: Any) -> None:
        sent.append(run)
        if len(sent) == 4:
            server.kill()
        log(self, run, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", dying)
    summary = opened("search.trials=0", "name=dying", tracking=server.uri).run()
    monkeypatch.setattr(MlflowClient, "log_batch", log)
    assert summary["trials"]["complete"] == 7
    notes = [note for note in summary["notes"] if note.startswith("tracking")]
    assert sum("unsent runs go with the next search of this study" in note for note in notes) == 1
    server.start()
    identity = MlflowClient(server.uri).get_run(sent[0]).data.tags[STUDY]
    assert Counter(status for _, status, *_ in _told_by(server.uri, identity)) == {"RUNNING": 2, "FINISHED": 2}
    opened("search.trials=0", "name=dying", tracking=server.uri).run(resume=True)
    told = _told_by(server.uri, identity)
    assert Counter(key for key, *_ in told) == Counter([PARENT, *(str(row["number"]) for row in summary["records"])])
    assert {status for _, status in told} == {"FINISHED"}
    assert sent[3] in {run.info.run_id for run in runs_of(server.uri)}


def _told_by(uri: str, identity: str) -> list[tuple[str, str]]:
    return [(run.data.tags[RUN], run.info.status) for run in runs_of(uri) if run.data.tags[STUDY] == identity]
