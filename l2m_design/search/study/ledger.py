"""Ledger: what became of a study's trials and of its finalists' runs, in its database; each entry is written once."""

import contextlib
import copy
import json
import os
import secrets
import socket
import time
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState, create_trial

from l2m_design.errors import BadInput, WorkFailed
from l2m_design.search.record import Record, Records
from l2m_design.search.results.finalists import FinalJob, FinalRun
from l2m_design.search.settings import differences
from l2m_design.search.study.database import AWAY, Database
from l2m_design.search.study.descriptor import Descriptor
from l2m_design.settings import Json, to_json
from l2m_design.training.result import Result

FINALS = ":finalists"
RECORD, RUN, JOB, RECIPE = "record", "run", "job", "recipe"
STUDY, UID, DRIVER, LAGS = "study", "uid", "driver", "lags"
FRESH, AGAIN = 60.0, 15.0  # seconds: so old a sign of life counts; how often one is given


class Ledger:
    """The entries of one study; who opens it may write, one driver at a time.

    descriptor: of the expected study; None takes the stored one. Raises BadInput where the study is not
    there, or is another.
    """

    def __init__(self, database: Database, name: str, descriptor: Descriptor | None = None) -> None:
        self.database, self.name = database, name
        if descriptor is None and name not in database.studies:
            known = ", ".join(sorted(n for n in database.studies if not n.endswith(FINALS))) or "none"
            raise BadInput(f"study {name}: not in {database.shown}; studies there: {known}")
        self._trials = database.study(name, descriptor.directions if descriptor else 1)
        self._finals = database.study(name + FINALS)
        kept = self._attrs.get(STUDY)
        if descriptor is None:
            if kept is None:
                raise BadInput(f"study {name} in {database.shown}: was never started; start it with l2m search")
            descriptor = Descriptor.of_plain(json.loads(kept))
        elif kept is not None:
            old = Descriptor.of_plain(json.loads(kept)).identity
            if changed := differences(json.loads(to_json(old)), json.loads(to_json(descriptor.identity))):
                raise BadInput(
                    f"study {name} in {database.shown}: exists with other settings ({'; '.join(changed[:3])}); "
                    "give another name"
                )
        self.descriptor = descriptor
        self._signed, self._lags = 0.0, [(0, 1)]
        self._read()

    def _read(self) -> None:
        self.records = Records(_record(trial) for trial in self._entries(self._trials, RECORD))
        runs = [_run(trial) for trial in self._entries(self._finals, RUN)]
        self._runs = {(run.job.fingerprint, run.recipe): run for run in runs}

    @property
    def _attrs(self) -> dict[str, Any]:
        return self.database.patiently(lambda: self._trials.user_attrs)

    def _entries(self, study: optuna.Study, name: str) -> list[FrozenTrial]:
        found = self.database.patiently(lambda: study.get_trials(deepcopy=False))
        return [trial for trial in found if name in trial.user_attrs]

    def begin(self, lag: int) -> None:
        """Write under this process' name, architecture with this lag. Raises BadInput where another driver writes."""
        check_free(self.database, self.name)
        self.sign()
        self._read()
        self._keep_lag(lag)
        self._set(STUDY, to_json(self.descriptor.plain()))
        if UID not in self._attrs:
            self._set(UID, secrets.token_hex(8))

    def _keep_lag(self, lag: int) -> None:
        """What was drawn, or may have been, keeps the lag of its architecture."""
        lags: list[list[int]] = self._attrs.get(LAGS, [])
        if not lags or lags[-1][1] != lag:
            last = max((record.number for record in self.records.all), default=-1)
            begins = last + 1 + lags[-1][1] if lags else 0
            self._set(LAGS, [each for each in lags if each[0] < begins] + [[begins, lag]])
        self._lags = [(begins, each) for begins, each in self._attrs[LAGS]]

    def lag(self, number: int) -> int:
        """How many trials before this one the last lies whose end must be known when it is drawn."""
        return [each for begins, each in self._lags if begins <= number][-1]

    def sign(self) -> None:
        """Give a sign of life, where the last one is some time ago."""
        if time.monotonic() - self._signed > AGAIN or not self._signed:
            if (holder := self._attrs.get(DRIVER)) and not _own(holder) and _lives(holder):
                raise WorkFailed(
                    f"study {self.name}: process {holder['pid']} on {holder['host']} has taken over the search, since "
                    "this process did not respond for long; finished trials are saved"
                )
            self._signed = time.monotonic()
            process = psutil.Process(os.getpid())
            self._set(
                DRIVER,
                {"host": socket.gethostname(), "pid": process.pid, "began": process.create_time(), "seen": time.time()},
            )

    def end(self) -> None:
        """Let others write; where the database is away, they may once the last sign of life is old."""
        with contextlib.suppress(*AWAY):
            if _own(self._trials.user_attrs.get(DRIVER) or {}):
                self._trials.set_user_attr(DRIVER, None)

    def _set(self, name: str, value: Any) -> None:
        self.database.patiently(lambda: self._trials.set_user_attr(name, value))

    @property
    def uid(self) -> str:
        """What tells a study that has begun from all others, those of the same name and settings too."""
        return str(self._attrs[UID])

    @property
    def tuned_before(self) -> bool:
        """Were finalists ever trained, by whatever recipe?"""
        return bool(self._runs)

    def add(self, record: Record, told: FrozenTrial) -> None:
        """Keep what became of a trial; told: what Optuna and its readers see of it."""
        entry = copy.copy(told)
        entry.datetime_start = datetime.now() - timedelta(seconds=record.seconds)
        entry.datetime_complete = datetime.now()
        entry.user_attrs = {RECORD: to_json(asdict(record)), "number": record.number} | (
            {"design": record.design} if record.design else {}
        )
        self._write(self._trials, entry, RECORD)
        self.records.add(record)

    def _write(self, study: optuna.Study, entry: FrozenTrial, name: str) -> None:
        """Once, though the database may go away after it took the entry and before it said so."""
        tried = False

        def write() -> None:
            nonlocal tried
            there = study.get_trials(deepcopy=False) if tried else []
            if any(trial.user_attrs.get(name) == entry.user_attrs[name] for trial in there):
                return
            tried = True
            study.add_trial(entry)

        self.database.patiently(write)

    def add_run(self, run: FinalRun) -> None:
        """Keep a finalist's run."""
        kept = to_json({"result": run.result.plain() if run.result else None, "reason": run.reason})
        attrs = {JOB: run.job.plain(), RECIPE: run.recipe, RUN: kept}
        state = TrialState.COMPLETE if run.result else TrialState.FAIL
        told = create_trial(state=state, value=run.result.late_loss if run.result else None, user_attrs=attrs)
        self._write(self._finals, told, RUN)
        self._runs[run.job.fingerprint, run.recipe] = run

    @property
    def results(self) -> list[Json]:
        """Of all runs that ended well, as Result.plain wrote them: trials by number, then finalists' runs."""
        trials = [record.result for record in self.records.all if record.result]
        return trials + [run.result.plain() for run in self._runs.values() if run.result]

    def runs(self, recipe: str) -> list[FinalRun]:
        """The finalists' finished runs by the shared recipe of this fingerprint, in the order in which they ended."""
        return [run for run in self._runs.values() if run.recipe == recipe]


def check_free(database: Database, name: str) -> None:
    """Raises BadInput where another driver searches the study of this name."""
    holder = database.study(name).user_attrs.get(DRIVER) if name in database.studies else None
    if holder and not _own(holder) and _lives(holder):
        raise BadInput(
            f"study {name} in {database.shown}: is being searched by process {holder['pid']} on {holder['host']}; "
            f"only one process may search a study (one killed on another host counts as alive for {FRESH:.0f} s)"
        )


def move_aside(database: Database, name: str) -> None:
    """Rename a study, if it is there, to the first free NAME.1, NAME.2, ...; nothing is deleted."""
    names, number = set(database.studies), 1
    while f"{name}.{number}" in names or f"{name}.{number}{FINALS}" in names:
        number += 1
    for part in ("", FINALS):
        database.rename(name + part, f"{name}.{number}{part}")


def _record(trial: FrozenTrial) -> Record:
    return Record(**json.loads(trial.user_attrs[RECORD]))


def _run(trial: FrozenTrial) -> FinalRun:
    data = json.loads(trial.user_attrs[RUN])
    result = Result.of_plain(data["result"]) if data["result"] else None
    return FinalRun(FinalJob(**trial.user_attrs[JOB]), result, data["reason"], trial.user_attrs[RECIPE])


def _own(holder: dict[str, Any]) -> bool:
    """Is that driver this process?"""
    return bool(holder) and (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())


def _lives(holder: dict[str, Any]) -> bool:
    """Is that driver at work? Of this host's processes it is known; of others their last sign of life counts."""
    if holder["host"] != socket.gethostname():
        return bool(time.time() - holder["seen"] < FRESH)
    try:
        process = psutil.Process(holder["pid"])
        same = abs(process.create_time() - holder["began"]) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
