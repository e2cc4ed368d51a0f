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

from l2m_design.errors import BadInput
from l2m_design.search.record import Record, Records
from l2m_design.search.results.finalists import FinalJob, FinalRun
from l2m_design.search.settings import differences
from l2m_design.search.study.database import AWAY, Database
from l2m_design.search.study.descriptor import Descriptor
from l2m_design.settings import to_json
from l2m_design.training.result import Result

FINALS = ":finalists"
RECORD, RUN, JOB, RECIPE, STUDY, UID, DRIVER = "record", "run", "job", "recipe", "study", "uid", "driver"
FRESH, AGAIN = 60.0, 15.0  # seconds: so old a sign of life counts; how often one is given


class Ledger:
    """The entries of one study; who opens it may write, one driver at a time.

    descriptor: of the study that is asked for; none takes the one that is kept. Raises BadInput where the study is not
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
                raise BadInput(f"study {name} in {database.shown}: was never begun; start it with l2m search")
            descriptor = Descriptor.of_plain(json.loads(kept))
        elif kept is not None:
            old = Descriptor.of_plain(json.loads(kept)).identity
            if changed := differences(json.loads(to_json(old)), json.loads(to_json(descriptor.identity))):
                raise BadInput(
                    f"study {name} in {database.shown}: exists with other settings ({'; '.join(changed[:3])}); "
                    "give another name"
                )
        self.descriptor = descriptor
        self.records = Records(_record(trial) for trial in self._entries(self._trials, RECORD))
        self._runs = [_run(trial) for trial in self._entries(self._finals, RUN)]
        self._signed = 0.0

    @property
    def _attrs(self) -> dict[str, Any]:
        return self.database.patiently(lambda: self._trials.user_attrs)

    def _entries(self, study: optuna.Study, name: str) -> list[FrozenTrial]:
        found = self.database.patiently(lambda: study.get_trials(deepcopy=False))
        return [trial for trial in found if name in trial.user_attrs]

    def begin(self) -> None:
        """Write under this process' name. Raises BadInput where another driver does."""
        holder = self._attrs.get(DRIVER)
        if holder and _lives(holder):
            raise BadInput(
                f"study {self.name} in {self.database.shown}: is searched by process {holder['pid']} on "
                f"{holder['host']}; a study has one driver"
            )
        self._set(STUDY, to_json(self.descriptor.plain()))
        if UID not in self._attrs:
            self._set(UID, secrets.token_hex(8))
        self.sign()

    def sign(self) -> None:
        """Give a sign of life, where the last one is some time ago."""
        if time.monotonic() - self._signed > AGAIN or not self._signed:
            self._signed = time.monotonic()
            process = psutil.Process(os.getpid())
            self._set(
                DRIVER,
                {"host": socket.gethostname(), "pid": process.pid, "began": process.create_time(), "seen": time.time()},
            )

    def end(self) -> None:
        """Let others write; where the database is away, they may once the last sign of life is old."""
        with contextlib.suppress(*AWAY):
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
        self.database.patiently(lambda: self._trials.add_trial(entry))
        self.records.add(record)

    def add_run(self, run: FinalRun) -> None:
        """Keep a finalist's run."""
        kept = to_json({"result": run.result.plain() if run.result else None, "reason": run.reason})
        attrs = {JOB: run.job.plain(), RECIPE: run.recipe, RUN: kept}
        state = TrialState.COMPLETE if run.result else TrialState.FAIL
        told = create_trial(state=state, value=run.result.late_loss if run.result else None, user_attrs=attrs)
        self.database.patiently(lambda: self._finals.add_trial(told))
        self._runs.append(run)

    def runs(self, recipe: str) -> list[FinalRun]:
        """The finalists' finished runs by the shared recipe of this fingerprint, in the order in which they ended."""
        return [run for run in self._runs if run.recipe == recipe]


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


def _lives(holder: dict[str, Any]) -> bool:
    """Is that driver at work? Of this host's processes it is known; of others their last sign of life counts."""
    if holder["host"] != socket.gethostname():
        return bool(time.time() - holder["seen"] < FRESH)
    try:
        process = psutil.Process(holder["pid"])
        same = abs(process.create_time() - holder["began"]) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid()
    except psutil.NoSuchProcess:
        return False
