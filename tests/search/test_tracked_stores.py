"""Tracking stores that fail: experiments that are deleted, artifacts that hang, servers that die."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from l2m_design.errors import BadInput
from l2m_design.search.record import Record
from l2m_design.search.tracking import store as stores
from l2m_design.search.tracking.content import Shown
from l2m_design.search.tracking.runs import PARENT, RUN, STUDY
from l2m_design.search.tracking.tracker import StudyRun, Tracker
from l2m_design.terms import Terms
from tests.command import l2m
from tests.search.sent import TINY, parents_of, runs_of, sent_runs, trials_of


def test_a_deleted_experiment_is_told_before_training_with_its_remedy(opened, trained, study: Path, store: str) -> None:
    opened("search.trials=0").run()
    before = {run.info.run_id for run in runs_of(store)}
    done, client = len(trained), MlflowClient(store)
    number = client.get_experiment_by_name(TINY).experiment_id
    client.delete_experiment(number)
    refused = l2m("search", "study.yaml", "--fresh", "--tracking", store, cwd=study.parent)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"l2m: --tracking {store}: the experiment 'l2m-design/tiny' was deleted; restore it (MLFLOW_TRACKING_URI="
        f"{store} mlflow experiments restore --experiment-id {number}), or name another in MLFLOW_EXPERIMENT_NAME\n"
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
    client.delete_experiment(client.get_experiment_by_name(TINY).experiment_id)
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
            self.delete_experiment(self.get_experiment_by_name(TINY).experiment_id)

    monkeypatch.setattr(MlflowClient, "log_batch", deleting)
    summary = opened("search.trials=0").run()
    assert summary["trials"]["complete"] == 7
    [note] = [note for note in summary["notes"] if note.startswith("tracking")]
    assert "the experiment 'l2m-design/tiny' was deleted; restore it" in note
    client = MlflowClient(store)
    client.restore_experiment(client.get_experiment_by_name(TINY).experiment_id)
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
        keys = [run.data.tags[RUN] for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
        assert sorted(keys) == sorted(str(row["number"]) for row in kept)
    assert len(runs) == 2 + sum(run.info.run_id not in parents for run in runs)


def test_an_artifact_store_that_hangs_holds_up_nothing(
    uri: str, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = MlflowClient.log_text, list[str]()

    def hanging(self: MlflowClient, run: str, text: str, name: str) -> None:
        asked.append(run)
        time.sleep(60)

    monkeypatch.setattr(MlflowClient, "log_text", hanging)
    tracker = Tracker(uri, StudyRun("hangs"), Shown(Terms()), tmp_path / "ledger.json", "hangs")
    tracker.sync([])
    monkeypatch.setattr(stores, "LONGEST_WAIT", 2.0)
    tracker.sync([replace(record, number=number) for number, record in enumerate(records)])
    assert len(asked) == 1  # then the store is left alone
    assert tracker.trouble is None
    assert tracker.notes == [
        "tracking: artifacts could not be stored (TimeoutError: no response within 2 s); params and metrics are not "
        "affected, and the next search of this study sends the artifacts again"
    ]
    monkeypatch.setattr(MlflowClient, "log_text", store)
    monkeypatch.setattr(stores, "LONGEST_WAIT", 30.0)
    tracker.sync(records, last=True)
    assert tracker.notes == []
    children = [one for one in sent_runs(uri, "hangs") if one[0] != PARENT]
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
    expected = sorted([str(row["number"]) for row in kept] + [PARENT])
    assert sorted(run.data.tags[RUN] for run in runs) == expected
    assert all("late_loss" in run.data.metrics for run in runs if run.data.tags[RUN] != PARENT)
    again = l2m(*words, "--resume", cwd=study.parent)
    assert again.stderr.count("artifacts could not be stored") == 1
    assert "Traceback" not in again.stderr


def test_a_server_that_dies_in_the_middle_loses_nothing(
    opened, trained, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, end, sent, ended = MlflowClient.log_batch, MlflowClient.set_terminated, list[str](), list[str]()

    def ending(self: MlflowClient, run: str, status: str | None = None) -> None:
        end(self, run, status)
        ended.append(run)

    def dying(self: MlflowClient, run: str, **named: Any) -> None:
        sent.append(run)
        if len(ended) == 2:
            ended.append(run)
            server.kill()
        log(self, run, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", dying)
    monkeypatch.setattr(MlflowClient, "set_terminated", ending)
    summary = opened("search.trials=0", "name=dying", tracking=server.uri).run()
    monkeypatch.setattr(MlflowClient, "log_batch", log)
    monkeypatch.setattr(MlflowClient, "set_terminated", end)
    assert summary["trials"]["complete"] == 7
    notes = [note for note in summary["notes"] if note.startswith("tracking")]
    assert sum("the next search of this study sends the runs that are missing" in note for note in notes) == 1
    server.start()
    identity = MlflowClient(server.uri).get_run(sent[0]).data.tags[STUDY]
    left = Counter(status for _, status, *_ in _told_by(server.uri, identity))
    assert left.keys() == {"RUNNING", "FINISHED"}
    assert left["FINISHED"] == 2
    opened("search.trials=0", "name=dying", tracking=server.uri).run(resume=True)
    told = _told_by(server.uri, identity)
    assert Counter(key for key, *_ in told) == Counter([PARENT, *(str(row["number"]) for row in summary["records"])])
    assert {status for _, status in told} == {"FINISHED"}
    assert ended[2] in {run.info.run_id for run in runs_of(server.uri)}


def _told_by(uri: str, identity: str) -> list[tuple[str, str]]:
    return [(run.data.tags[RUN], run.info.status) for run in runs_of(uri) if run.data.tags[STUDY] == identity]
