"""Watch: what a search is doing now, from what its listener hears; kept in status.json for `l2m status`."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Literal

import psutil
from pydantic import TypeAdapter, ValidationError

from l2m_design.errors import BadInput
from l2m_design.search.folder import read_kept
from l2m_design.search.record import Record, State
from l2m_design.settings import first_error, to_json, write_atomically

STATUS = "status.json"
EVERY = 1.0  # seconds between two looks
AT_ONCE = 0.02  # seconds: what takes less was measured in an earlier session
SILENT = 120.0  # seconds: so old a sign of life of another host counts
End = Literal["running", "finished", "interrupted", "failed", "lost"]


@dataclass(frozen=True)
class Best:
    """The best trial so far that meets the condition: late loss in nats per token, state in bytes at the target."""

    trial: int
    design: str | None
    picture: str
    late_loss: float
    state_bytes: int


@dataclass(frozen=True)
class Running:
    """A run that is being trained: steps done of a total, and what it reached so far."""

    name: str
    done: int
    total: int
    reached: str = ""


@dataclass(frozen=True)
class Stage:
    """A stage of a study with `start`: its parts (replacements, plans, steps) measured and planned, and about how many
    forward passes over a window each part takes.
    """

    name: str
    done: int
    total: int
    passes: float


@dataclass(frozen=True)
class Status:
    """Where a search stands. seconds: of this session; seconds_left: of the stage, None where nothing tells yet.

    stage: what is being done, as trials or finalists, with its parts done and planned. trials: by state, each
    architecture once. updated, host, pid: of the last sign of life, updated in seconds since 1970. stages, of a study
    with `start`: all that are planned, in their order; seconds_left_in_all: of all of them.
    """

    study: str
    state: End
    updated: float
    host: str
    pid: int
    seconds: float = 0.0
    stage: str = "starting"
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    trials: dict[State, int] = field(default_factory=dict)
    best: Best | None = None
    running: list[Running] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    seconds_left_in_all: float | None = None


class Watch:
    """Hears what a search's listener hears, keeps status.json in its folder, and hands each status to `show`."""

    def __init__(self, path: Path, study: str, show: Callable[[Status], None] = lambda status: None) -> None:
        self._path, self._show = path, show
        self._began = self._stage_began = time.monotonic()
        self._first, self._looked = 0, 0.0
        self._records: dict[int, Record] = {}
        self._running: dict[str, Running] = {}
        self._stages: dict[str, Stage] = {}
        self._pace: float | None = None  # seconds of a forward pass
        self._reads = False  # was a part of the stage measured in this session?
        self._status = Status(study, "running", time.time(), socket.gethostname(), os.getpid())

    def know(self, records: Iterable[Record]) -> None:
        """Trials of earlier sessions."""
        self._records |= {record.number: record for record in records}

    def plan(self, stages: Iterable[Stage]) -> None:
        """The stages of a study with `start`, in their order."""
        self._stages = {stage.name: stage for stage in stages}

    def progress(self, what: str, done: int, total: int) -> None:
        """Parts of a stage are done. One that begins ends those planned before it: they were known."""
        now = time.monotonic()
        if what != self._status.stage:
            self._stage_began, self._first, self._running, self._reads = now, done, {}, not self._stages
        elif not self._reads and now - self._stage_began < AT_ONCE:
            self._stage_began, self._first = now, done
        else:
            self._reads = True
        if what in self._stages:
            self._end_before(what)
            self._stages[what] = replace(self._stages[what], done=done, total=total)
        self._status = replace(self._status, stage=what, done=done, total=total)
        self._look()

    def step(self, name: str, done: int, total: int, reached: str) -> None:
        """Steps of a run are done; one that ends is no longer running."""
        self._running[name] = Running(name, done, total, reached)
        if done >= total:
            del self._running[name]
        self._look()

    def trial(self, record: Record) -> None:
        """A trial ended."""
        self.know([record])
        self._running = {name: run for name, run in self._running.items() if not name.startswith(_of(record.number))}
        self._look()

    def _end_before(self, what: str | None) -> None:
        for stage in takewhile(lambda stage: stage.name != what, list(self._stages.values())):
            self._stages[stage.name] = replace(stage, done=stage.total)

    def end(self, state: End) -> None:
        """The last word; the first one stands."""
        if self._status.state != "running":
            return
        if state == "finished":
            self._end_before(None)
        self._running = {}
        self._status = replace(self._status, state=state)
        self._look(always=True)

    def _look(self, always: bool = False) -> None:
        now = time.monotonic()
        if not always and now - self._looked < EVERY:
            return
        self._looked = now
        status, since = self._status, self._status.done - self._first
        left = (status.total - status.done) * (now - self._stage_began) / since if since > 0 else None
        if (stage := self._stages.get(status.stage)) and stage.passes and left is not None and self._reads:
            self._pace = (now - self._stage_began) / since / stage.passes
        own = [record for record in self._records.values() if record.copy_of is None]
        states: tuple[State, ...] = ("complete", "pruned", "infeasible", "failed")
        self._status = replace(
            status,
            updated=round(time.time(), 1),
            seconds=round(now - self._began, 1),
            seconds_left=None if left is None or status.state != "running" else round(left, 1),
            trials={state: sum(record.state == state for record in own) for state in states},
            best=_best(own),
            running=list(self._running.values()),
            stages=list(self._stages.values()),
            seconds_left_in_all=self._left_in_all() if status.state == "running" else None,
        )
        with contextlib.suppress(OSError):  # a full disk costs the status, not the study
            write_atomically(self._path, to_json(_adapter().dump_python(self._status, mode="json")))
        self._show(self._status)

    def _left_in_all(self) -> float | None:
        """At the pace of the last forward passes."""
        if self._pace is None:
            return None
        return round(self._pace * sum((each.total - each.done) * each.passes for each in self._stages.values()), 1)


def status_of(folder: Path) -> Status:
    """The status that a search keeps in its folder. Raises BadInput where there is none.

    A search that said it was running and whose process is gone is lost.
    """
    kept = read_kept(folder / STATUS)
    if not kept:
        raise BadInput(
            f"{folder / STATUS}: no readable status; `l2m search` writes one within the first minute of a study"
        )
    try:
        status = _adapter().validate_python(kept)
    except ValidationError as error:
        raise BadInput(f"{folder / STATUS}: not a status: {first_error(error)}") from None
    return status if status.state != "running" or _lives(status) else replace(status, state="lost", running=[])


def _adapter() -> "TypeAdapter[Status]":
    return TypeAdapter(Status)


def _of(number: int) -> str:
    """How the name of a trial's run begins."""
    return f"trial {number},"


def _best(records: Iterable[Record]) -> Best | None:
    done = [r for r in records if r.state == "complete" and r.feasible and r.late_loss is not None]
    if not done:
        return None
    best = min(done, key=lambda r: r.value if r.value is not None else r.late_loss or 0.0)
    assert best.late_loss is not None
    return Best(best.number, best.design, best.picture, best.late_loss, best.state_bytes)


def _lives(status: Status) -> bool:
    if status.host != socket.gethostname():
        return time.time() - status.updated < SILENT
    try:
        return psutil.Process(status.pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
