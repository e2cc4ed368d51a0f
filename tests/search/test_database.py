"""The database of a study: one driver, entries that are written whole; one that is away or full is waited for."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError

from l2m_design.cli import main
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.search.study import database as room
from l2m_design.search.study.database import Database, DatabaseAway
from l2m_design.search.study.ledger import DRIVER, Ledger


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


def test_an_outage_is_waited_for_and_said_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    database, left = Database(url, said.append), [4]

    def away() -> Any:
        if left[0]:
            left[0] -= 1
            raise StorageInternalError("server closed the connection")
        return "here"

    monkeypatch.setattr(room, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(room, "LONGEST_WAIT", 0.02)
    assert database.patiently(away) == "here"
    assert len(said) == 2
    assert "server closed the connection; retrying for 900 s" in said[0]
    assert "reachable again after" in said[1]


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """sqlite that may not grow says that the disk is full; with room again, the write goes through."""
    import sqlalchemy

    said: list[str] = []
    database = Database(f"sqlite:///{tmp_path}/full.db", said.append)
    study = database.study("work")
    engine = database.storage.engine
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("pragma page_count").scalar()
    engine.dispose()
    limit = [f"pragma max_page_count = {pages + 4}"]

    @sqlalchemy.event.listens_for(engine, "begin")
    def _limit(connection: Any) -> None:
        connection.exec_driver_sql(limit[0]).scalar()

    def make_room() -> None:
        limit[0] = "pragma max_page_count = 1000000"

    threading.Timer(1.0, make_room).start()
    database.patiently(lambda: study.set_user_attr("study", "x" * 3_000_000))
    assert len(study.user_attrs["study"]) == 3_000_000
    assert any("disk is full" in sentence for sentence in said)


def test_an_outage_without_end_is_failed_work(url: str) -> None:
    database = Database(url)
    database.patience = 0.0

    def away() -> None:
        raise StorageInternalError("no route")

    with pytest.raises(DatabaseAway, match="finished trials are saved, continue with --resume"):
        database.patiently(away)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not a database URL"),
        ("oracle+nothing://host/x", "no driver"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "cannot be opened"),
        ("postgresql://joe@127.0.0.1:1/none?password=secret", "cannot be opened"),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
    ],
)
def test_one_that_cannot_be_opened_is_one_line_without_its_password(
    study: Path, monkeypatch, capsys, url: str, words: str
) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        Database(url)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
    monkeypatch.chdir(study.parent)
    said = _refused(monkeypatch, capsys, "search", "study.yaml", "--storage", url)
    assert words in said
    assert "secret" not in said
    assert not (study.parent / "runs" / "tiny").exists()


def test_a_missing_driver_says_what_to_install(study: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.chdir(study.parent)
    said = _refused(monkeypatch, capsys, "search", "study.yaml", "--storage", "postgresql://joe:secret@host/name")
    assert "needs a driver: pip install 'psycopg[binary]'" in said
    assert "secret" not in said


def _refused(monkeypatch, capsys, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["l2m", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.err.count("\n") == 1
    return said.err


def test_an_unknown_study_names_those_that_are_there(opened, trained, url: str) -> None:
    search = opened()
    search.run()
    with pytest.raises(BadInput, match=r"study tinny: not in .*; studies there: tiny$"):
        Ledger(Database(search.storage_url), "tinny")


def test_a_second_driver_of_a_study_is_refused(opened, trained) -> None:
    """As from another folder, or another machine: the folder's lock does not know of it."""
    search = opened("search.trials=0")
    search.run()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ledger = Ledger(Database(search.storage_url), "tiny")
    import psutil

    began = psutil.Process(other.pid).create_time()
    holder = {"host": os.uname().nodename, "pid": other.pid, "began": began, "seen": 0.0}
    ledger._set(DRIVER, holder)
    with pytest.raises(
        BadInput, match=f"is being searched by process {other.pid} on .*; only one process may search a study"
    ):
        opened("search.trials=1").run()
    fresh = opened("search.trials=1", f"storage={search.storage_url}")
    with pytest.raises(BadInput, match="only one process may search a study"):
        fresh.run(fresh=True)  # which would take it from under the other
    with pytest.raises(WorkFailed, match="has taken over the search, since this process did not respond"):
        ledger.sign()
    other.kill()
    other.wait()
    assert opened("search.trials=1").run()["trials"]["complete"] == 8
    ledger._set(DRIVER, {"host": "another", "pid": 1, "began": 0.0, "seen": 0.0})
    opened("search.trials=1").run()  # that one was silent for long


def test_entries_are_seen_by_readers_of_optuna(opened, trained) -> None:
    search = opened("search.trials=3", "search.pruner=median")
    summary = search.run()
    study = optuna.load_study(study_name="tiny", storage=search.storage_url)
    assert len(study.trials) == len(summary["records"])
    assert {trial.user_attrs["number"] for trial in study.trials} == {r["number"] for r in summary["records"]}
    done = [trial for trial in study.trials if trial.values]
    by_number = {r["number"]: r for r in summary["records"]}
    assert all(trial.value == pytest.approx(by_number[trial.user_attrs["number"]]["value"]) for trial in done)
    assert any(trial.intermediate_values for trial in study.trials)
    assert not [trial for trial in study.trials if not trial.state.is_finished()]


def test_a_study_knows_in_which_database_its_trials_lie(opened, trained, tmp_path: Path) -> None:
    elsewhere = f"storage=sqlite:///{tmp_path}/elsewhere.db"
    opened("search.trials=0", elsewhere).run()
    with pytest.raises(BadInput, match=r"are in sqlite:///.*elsewhere.db; give --storage, or --fresh"):
        opened("search.trials=0").run(resume=True)
    before = len(trained)
    opened("search.trials=0", elsewhere).run(resume=True)
    assert len(trained) == before
    opened("search.trials=0").run(fresh=True)
    with pytest.raises(BadInput, match="are in the folder of the study; leave --storage out"):
        opened("search.trials=0", elsewhere).run()


def test_an_entry_that_was_taken_before_the_connection_broke_is_there_once(opened, trained, monkeypatch) -> None:
    from optuna.study import Study

    add, broke = Study.add_trial, list[int]()

    def breaking(self: Study, trial: Any) -> None:
        add(self, trial)
        if "number" in trial.user_attrs and not broke:
            broke.append(1)
            raise StorageInternalError("connection reset")

    monkeypatch.setattr(Study, "add_trial", breaking)
    monkeypatch.setattr(room, "FIRST_WAIT", 0.01)
    search = opened("search.trials=0")
    search.run()
    assert broke
    assert len(optuna.load_study(study_name="tiny", storage=search.storage_url).trials) == 7
