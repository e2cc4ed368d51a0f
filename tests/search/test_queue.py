"""Tickets: each worked off once, whoever dies; a database that is away is waited for."""

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from l2m_design.errors import BadInput
from l2m_design.search.study.queue import Queue, dead_here, this_worker
from l2m_design.search.study.storage import Storage, StorageAway


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queue.db"


@pytest.fixture
def queue(url: str) -> Queue:
    return Queue(Storage(url, grace=10), "work")


def test_every_ticket_is_taken_once_by_many_workers(queue: Queue) -> None:
    for number in range(24):
        queue.plan("trial", job={"number": number})
    taken: list[int] = []

    def work() -> None:
        own = Queue(queue.storage, "work")
        while trial := own.take(this_worker()):
            taken.append(trial.user_attrs["job"]["number"])
            own.finish(trial, {"record": "x"}, [1.0], False)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(24))
    assert queue.open == 0


def test_a_queue_without_tickets_gives_none_and_makes_no_trial(queue: Queue) -> None:
    assert queue.take(this_worker()) is None
    assert queue.trials() == []


def test_what_a_killed_process_held_is_planned_again_with_its_picks(queue: Queue, url: str) -> None:
    queue.plan("trial", {"x": 1}, design="all attention", job={"a": 1})
    script = f"""
        import os, signal
        from l2m_design.search.study.queue import Queue, this_worker
        from l2m_design.search.study.storage import Storage
        queue = Queue(Storage({url!r}, grace=600), "work")
        trial = queue.take(this_worker())
        assert trial.suggest_categorical("x", [0, 1]) == 1
        trial.suggest_categorical("y", ["a"])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert died.returncode == -9
    assert queue.waiting == 0
    assert queue.bury() == 1
    assert queue.bury() == 0
    again = queue.take(this_worker())
    assert again is not None
    assert again.user_attrs["design"] == "all attention"
    assert again.user_attrs["job"] == {"a": 1}
    assert again.user_attrs["attempt"] == 2
    assert again.suggest_categorical("x", [0, 1]) == 1
    assert again.suggest_categorical("y", ["a"]) == "a"


def test_a_living_worker_keeps_its_ticket(queue: Queue) -> None:
    queue.plan("trial")
    trial = queue.take(this_worker())
    assert trial is not None
    with queue.alive(trial):
        assert queue.bury() == 0
    assert not dead_here(this_worker())
    assert not dead_here("another-host 1 0.0")


def test_a_silent_worker_of_another_host_loses_its_ticket_after_the_grace(url: str, monkeypatch) -> None:
    queue = Queue(Storage(url, grace=10), "work")
    queue.plan("trial")
    trial = queue.take("another-host 1 0.0")
    assert trial is not None
    queue.storage.record_heartbeat(trial._trial_id)
    assert queue.bury() == 0
    monkeypatch.setattr(queue.storage._backend, "grace_period", -1)
    assert queue.bury() == 1
    assert queue.finish(trial, {}, [1.0], False) is False
    assert queue.waiting == 1


def test_a_trial_half_told_is_told_and_not_repeated(queue: Queue, monkeypatch) -> None:
    """As if killed between keeping what became of it and telling."""
    queue.plan("trial")
    trial = queue.take("another-host 1 0.0")
    assert trial is not None
    monkeypatch.setattr(queue, "tell", lambda *arguments: False)
    queue.finish(trial, {"record": "kept"}, [1.5], False)
    monkeypatch.undo()
    assert queue.give_back(queue.storage.get_trial(trial._trial_id))
    (told,) = queue.trials()
    assert told.state == TrialState.COMPLETE
    assert told.values == [1.5]
    assert queue.waiting == 0


def test_a_ticket_that_kills_every_worker_comes_back_as_a_new_one(queue: Queue) -> None:
    queue.plan("trial", {"x": 1})
    for _ in range(3):
        trial = queue.take("gone 1 0.0")
        assert trial is not None
        queue.give_back(trial)
    last = queue.take("gone 1 0.0")
    assert last is not None
    assert last.user_attrs["gave_up"] == 1
    assert last.suggest_categorical("x", [0]) == 0  # no longer fixed to 1


def test_an_outage_is_waited_for_and_said_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    storage = Storage(url, say=said.append)
    Queue(storage, "work").plan("trial")
    left = [4]

    def away() -> Any:
        if left[0]:
            left[0] -= 1
            raise StorageInternalError("server closed the connection")
        return storage.get_all_trials(1)

    monkeypatch.setattr("l2m_design.search.study.storage.FIRST_WAIT", 0.01)
    monkeypatch.setattr("l2m_design.search.study.storage.LONGEST_WAIT", 0.02)
    call = storage.patiently(away)
    assert len(call) == 1
    assert len(said) == 2
    assert "server closed the connection; asked again for 900 s" in said[0]
    assert "back after" in said[1]


@pytest.mark.parametrize("first", ["the database system is starting up", "terminating connection due to administrator"])
def test_a_server_on_its_way_up_or_down_is_waited_for_when_opened(url: str, monkeypatch, first: str) -> None:
    from l2m_design.search.study import storage as room

    opened, said, answers = room._opened, list[str](), [first, "connection refused"]

    def slowly(url: str) -> Any:
        if answers:
            raise StorageInternalError(answers.pop(0))
        return opened(url)

    monkeypatch.setattr(room, "_opened", slowly)
    monkeypatch.setattr(room, "FIRST_WAIT", 0.01)
    assert Storage(url, say=said.append).get_all_studies() == []
    assert "asked again for 900 s" in said[0]
    assert "back after" in said[1]


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """sqlite that may not grow says that the disk is full; with room again, the write goes through."""
    said: list[str] = []
    storage = Storage(f"sqlite:///{tmp_path}/full.db", say=said.append)
    queue = Queue(storage, "work")
    with storage.engine.connect() as connection:
        pages = connection.exec_driver_sql("pragma page_count").scalar()
    storage.engine.dispose()
    full = f"pragma max_page_count = {pages + 4}"

    import sqlalchemy

    limit = [full]

    @sqlalchemy.event.listens_for(storage.engine, "begin")
    def _limit(connection: Any) -> None:
        connection.exec_driver_sql(limit[0]).scalar()

    def room() -> None:
        limit[0] = "pragma max_page_count = 1000000"

    threading.Timer(1.0, room).start()
    queue.study.set_user_attr("study", "x" * 3_000_000)
    assert len(queue.study.user_attrs["study"]) == 3_000_000
    assert any("disk is full" in sentence for sentence in said)


def test_an_outage_without_end_is_failed_work(url: str) -> None:
    storage = Storage(url)
    storage.patience = 0.0

    def away() -> None:
        raise StorageInternalError("no route")

    with pytest.raises(StorageAway, match="nothing finished is lost, go on with --resume"):
        storage.patiently(away)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not a database URL"),
        ("oracle+nothing://host/x", "no driver"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line_without_its_password(url: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        Storage(url)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_was_said_of_an_end_counts_only_with_what_was_kept(queue: Queue, monkeypatch) -> None:
    """As if killed between saying how a trial ended and keeping its record."""
    queue.plan("trial", {"x": 1})
    trial = queue.take("another-host 1 0.0")
    assert trial is not None
    monkeypatch.setattr(queue, "tell", lambda *arguments: False)
    queue.finish(trial, {}, [1.5], False)
    trial.set_user_attr("told", [[1.5], False, ["record"]])
    monkeypatch.undo()
    assert queue.give_back(queue.storage.get_trial(trial._trial_id))
    assert queue.waiting == 1
    assert [found.state for found in queue.trials()] == [TrialState.FAIL, TrialState.WAITING]


def test_a_faster_worker_leaves_nothing_behind_for_the_slower(queue: Queue, monkeypatch) -> None:
    """Both saw the ticket waiting; no trial is made that nobody planned."""
    queue.plan("trial")
    slow = Queue(queue.storage, "work")
    begin = queue.storage.set_trial_state_values

    def beaten(*arguments, **named) -> bool:
        monkeypatch.undo()
        assert queue.take(this_worker()) is not None
        return begin(*arguments, **named)

    monkeypatch.setattr(slow.storage, "set_trial_state_values", beaten)
    assert slow.take(this_worker()) is None
    assert len(queue.study.get_trials()) == 1


def test_a_worker_is_known_before_it_draws(queue: Queue, monkeypatch) -> None:
    """Drawing may take longer than what is granted to a ticket without a name."""
    queue.plan("trial")
    seen: list[dict[str, Any]] = []

    def before_trial(study, trial) -> None:
        seen.append(queue.storage.get_trial(trial._trial_id).user_attrs)

    monkeypatch.setattr(queue.study.sampler, "before_trial", before_trial)
    assert queue.take("another-host 1 0.0") is not None
    assert seen[0]["worker"] == "another-host 1 0.0"
    monkeypatch.setattr(queue.storage._backend, "grace_period", -1)
    assert queue.bury() == 1  # it had given a sign of life before it drew


def test_known_designs_are_withdrawn_last(queue: Queue) -> None:
    queue.plan("trial")
    queue.plan("trial")
    queue.plan("trial", design="all attention")
    queue.withdraw(2)
    assert [trial.user_attrs.get("design") for trial in queue.trials(TrialState.WAITING)] == ["all attention"]


def test_of_many_that_wait_for_a_database_one_says_so_and_nobody_is_buried_at_once(queue: Queue, monkeypatch) -> None:
    monkeypatch.setattr("l2m_design.search.study.storage.FIRST_WAIT", 0.05)
    said: list[str] = []
    storage = Storage(str(queue.storage.engine.url), grace=10, say=said.append)
    own = Queue(storage, "work")
    own.plan("trial")
    assert own.take("another-host 1 0.0") is not None
    monkeypatch.setattr(storage._backend, "grace_period", -1)
    away = threading.Event()
    away.set()

    def call() -> str:
        if away.is_set():
            raise StorageInternalError("no route")
        return "here"

    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(storage.patiently(call))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert not storage.settled
    away.clear()
    for thread in threads:
        thread.join()
    assert answers == ["here"] * 4
    assert len(said) == 2
    assert own.bury() == 0  # silent through no fault of its own
    monkeypatch.setattr(storage, "_back", 0.0)
    assert own.bury() == 1
