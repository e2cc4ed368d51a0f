"""MLflow's one door: a parent run a study, a nested run a trial, sent from the records on disk.

A tracking failure never fails a trial: what could not be sent stays unsent and goes with a later call. Runs carry tags
that say which study and which trial they are. One that an ended process left behind is found by them and completed.
"""

import contextlib
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from l2m_design.errors import BadInput
from l2m_design.laws import Dtypes
from l2m_design.search.folder import read_kept
from l2m_design.search.pause import Pause, within
from l2m_design.search.record import Record
from l2m_design.search.results.finalists import FinalRun
from l2m_design.search.tracked import Content, of_finalist, of_trial
from l2m_design.settings import to_json, to_yaml, write_atomically

EXPERIMENT = "l2m-design"
STORES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # else 7, 120: minutes a call
QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}  # else a line on stdout for each run that a server ends
LONGEST_WAIT = 30.0  # seconds for a database to open or artifacts to be stored, whatever a driver tries
STUDY, RUN = "l2m.study", "l2m.run"  # tags: the study's identity; PARENT, a trial's number, or a finalist's fingerprint
PARENT, OWED = "parent", "owed "
METRICS, PARAMS = 800, 100  # of one call; MLflow takes 1000 things, 100 of them params
NO_NAME = re.compile(r"[^\w.: -]")  # what MLflow refuses in the name of a param


def default_uri() -> str:
    """$MLFLOW_TRACKING_URI, else a sqlite file in the current folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def experiment_name() -> str:
    """$MLFLOW_EXPERIMENT_NAME, else EXPERIMENT."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def check_uri(uri: str) -> None:
    """Raises BadInput when MLflow would know no store for the URI; whether one answers is seen later."""
    if uri.partition("://")[0].partition("+")[0] not in STORES:
        raise BadInput(f"--tracking {uri}: no store of that kind; allowed: {', '.join(s + '://' for s in STORES)}")


def check_experiment(uri: str) -> None:
    """Raises BadInput where the experiment was deleted; a store that does not answer is left to `Tracker`."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return
    try:
        _experiment(_connected(uri), uri)
    except BadInput:
        raise
    except Exception:  # a tracking server may fail in any way; the search must not
        return


def _connected(uri: str) -> Any:
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    return within(LONGEST_WAIT, lambda: MlflowClient(uri))


def _experiment(client: Any, uri: str) -> str | None:
    """The experiment's id, where there is one. Raises BadInput where it was deleted."""
    name = experiment_name()
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise BadInput(
            f"--tracking {uri}: the experiment '{name}' was deleted; restore it (MLFLOW_TRACKING_URI={uri} mlflow "
            f"experiments restore --experiment-id {found.experiment_id}), or name another in MLFLOW_EXPERIMENT_NAME"
        )
    return found.experiment_id if found else None


class Tracker:
    """Sends records to MLflow once each; remembers in `ledger` (a JSON file) what was sent, store by store.

    identity: what tells the study from all others, whatever their names; a new one where none is given.
    """

    def __init__(
        self,
        uri: str,
        study: str,
        params: Mapping[str, object],
        dtypes: str | Dtypes,
        ledger: Path,
        identity: str | None = None,
    ) -> None:
        self.uri = uri
        self._study, self._params, self._dtypes, self._ledger = study, params, dtypes, ledger
        self._identity = identity or secrets.token_hex(8)
        self._ledgers: dict[str, dict[str, str]] = read_kept(ledger)
        self._sent = self._ledgers.setdefault(uri, {})
        self._client: Any = None
        self._experiment: str | None = None
        self._there: dict[str, Any] | None = None  # the study's runs in the store by RUN; none until they are looked up
        self._reopened = False
        self._store, self._artifacts = Pause(), Pause()

    @property
    def trouble(self) -> str | None:
        """Why runs are unsent, in one line."""
        return self._store.trouble

    @property
    def notes(self) -> list[str]:
        """What could not be done, in one line each."""
        said = []
        if self.trouble:
            said.append(f"tracking: {self.trouble}; unsent runs go with the next search of this study")
        if self._artifacts.trouble:
            said.append(
                f"tracking: artifacts could not be stored ({self._artifacts.trouble}); params and metrics do not need "
                "them, and artifacts go with the next search of this study"
            )
        return said

    def sync(self, records: Iterable[Record], runs: Iterable[FinalRun] = (), last: bool = False) -> None:
        """Send every trial and every finalist's run not sent before.

        Never raises: `trouble` says in one line what went wrong. A store that failed is left alone for a while, unless
        this is the last call. Artifacts have a pause of their own.
        """
        contents = [(str(record.number), partial(of_trial, record, self._dtypes)) for record in records]
        contents += [(_key(run), partial(of_finalist, run)) for run in runs if run.job.fingerprint not in self._sent]
        self.send(contents, last)

    def send(self, contents: Iterable[tuple[str, Callable[[], Content]]], last: bool = False) -> None:
        """Send every run, by its key, not sent before; as `sync` does."""
        if last:
            self._store.end()
            self._artifacts.end()
        if self._store.lasts:
            return
        try:
            self._parent()
            for key, content in contents:
                if key not in self._sent:
                    self._send(key, content())
                elif OWED + key in self._sent and not self._artifacts.lasts:
                    self._attach(key, self._sent[key], content().architecture)
            self._store.well()
        except Exception as error:  # a tracking server may fail in any way; the search must not
            self._failed(error)

    def finish(self, metrics: dict[str, float], files: Iterable[Path]) -> None:
        """Close the parent run with the study's outcome and files, unless records could not be sent. Never raises."""
        if self.trouble:
            return
        try:
            parent = self._parent()
            self._log(self._client.get_run(parent), metrics, {})
            self._end_open("KILLED", but=parent)
            self._client.set_terminated(parent)
        except Exception as error:  # as above
            self._failed(error)
        else:
            self._store_artifacts(lambda: [self._client.log_artifact(parent, str(file)) for file in files])

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """What ends a search early also ends its open runs: an interrupt as KILLED, all else as FAILED."""
        try:
            yield
        except BaseException as error:
            if (self._client or PARENT in self._sent) and not self._store.lasts:
                try:
                    self._parent()
                    self._end_open("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
                except Exception as trouble:  # as above
                    self._failed(trouble)
            raise

    def _end_open(self, status: str, but: str = "") -> None:
        """No run of the study stays RUNNING; one that a slow store made twice is deleted."""
        for run in self._found("attributes.status = 'RUNNING'"):
            number, kept = run.info.run_id, self._sent.get(run.data.tags.get(RUN, ""))
            if kept not in (None, number):
                self._client.delete_run(number)
            elif number != but:
                self._client.set_terminated(number, status)
        self._reopened = False

    def _failed(self, error: Exception) -> None:
        self._store.failed(error)
        self._experiment = self._there = None  # what the store holds is looked up anew
        self._reopened = False

    def _remember(self) -> None:
        write_atomically(self._ledger, to_json(self._ledgers))

    def _parent(self) -> str:
        if self._client is None:
            self._client = _connected(self.uri)
        if self._experiment is None:
            self._experiment = self._found_or_made()
            self._forget_what_is_gone()
        if PARENT not in self._sent:
            run = self._run(PARENT, self._study, {})
            self._log(run, {}, self._params)
            self._sent[PARENT] = run.info.run_id
            self._remember()
        if not self._reopened:
            self._client.update_run(self._sent[PARENT], status="RUNNING")
            self._reopened = True
        return self._sent[PARENT]

    def _found_or_made(self) -> str:
        from mlflow.exceptions import MlflowException

        if known := _experiment(self._client, self.uri):
            return known
        try:
            return str(self._client.create_experiment(experiment_name()))
        except MlflowException as error:
            if error.error_code == "RESOURCE_ALREADY_EXISTS" and (made := _experiment(self._client, self.uri)):
                return made  # by another search at the same moment
            raise

    def _forget_what_is_gone(self) -> None:
        """A store that was deleted or made anew is sent everything again, and so is another experiment."""
        from mlflow.exceptions import MlflowException

        if PARENT not in self._sent:
            return
        try:
            parent = self._client.get_run(self._sent[PARENT])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._sent.clear()
            return
        if parent.info.lifecycle_stage != "active" or parent.info.experiment_id != self._experiment:
            self._sent.clear()
        else:
            self._log(parent, {}, {}, tags={STUDY: self._identity, RUN: PARENT})  # earlier versions set none

    def _found(self, asked: str = "") -> list[Any]:
        """The study's runs in the store, the oldest first; of them those that are asked for."""
        asked = " and ".join(filter(None, (f"tags.`{STUDY}` = '{self._identity}'", asked)))
        order, found, token = ["attributes.start_time"], list[Any](), None
        while True:
            page = self._client.search_runs([self._experiment], asked, order_by=order, page_token=token)
            found += page
            if not (token := page.token):
                return found

    def _run(self, key: str, name: str, tags: dict[str, str]) -> Any:
        """The run with this key, made where there is none."""
        if self._there is None:
            self._there = {run.data.tags.get(RUN, ""): run for run in reversed(self._found())}
        if key not in self._there:
            tags = tags | {STUDY: self._identity, RUN: key}
            self._there[key] = self._client.create_run(self._experiment, tags=tags, run_name=name)
        return self._there[key]

    def _send(self, key: str, content: Content) -> None:
        tags = content.tags | {"mlflow.parentRunId": self._parent()}
        run = self._run(key, content.name, tags)
        self._log(run, content.metrics, content.params, content.series, tags)
        self._client.set_terminated(run.info.run_id, content.status)
        self._sent[key] = run.info.run_id
        self._attach(key, run.info.run_id, content.architecture)

    def _attach(self, key: str, run: str, architecture: dict[str, Any]) -> None:
        """Store a run's artifact, or remember that it is owed."""
        if self._store_artifacts(lambda: self._client.log_text(run, to_yaml(architecture), "architecture.yaml")):
            self._sent.pop(OWED + key, None)
        else:
            self._sent[OWED + key] = run
        self._remember()

    def _store_artifacts(self, store: Callable[[], Any]) -> bool:
        """False where artifacts cannot be stored, which costs nothing else."""
        if self._artifacts.lasts:
            return False
        try:
            within(LONGEST_WAIT, store)
        except Exception as error:  # as above
            self._artifacts.failed(error)
            return False
        self._artifacts.well()
        return True

    def _log(
        self,
        run: Any,
        metrics: dict[str, float],
        params: Mapping[str, object],
        series: Iterable[tuple[str, int, float]] = (),
        tags: dict[str, str] | None = None,
    ) -> None:
        """Send what the run lacks."""
        from mlflow.entities import Metric, Param, RunTag

        name, there, now = run.info.run_id, run.data, int(time.time() * 1000)
        series = list(series)
        partly = {key for key, _, _ in series} & there.metrics.keys()
        steps = {key: {metric.step for metric in self._client.get_metric_history(name, key)} for key in partly}
        points = [(key, 0, value) for key, value in metrics.items() if there.metrics.get(key) != value]
        points += [(key, step, value) for key, step, value in series if step not in steps.get(key, ())]
        entities = [Metric(key, value, now, step) for key, step, value in points]
        named = {NO_NAME.sub("_", key): str(value)[:500] for key, value in params.items() if value is not None}
        kept = [Param(key, value) for key, value in named.items() if key not in there.params]
        lacks = [RunTag(key, value) for key, value in (tags or {}).items() if there.tags.get(key) != value]
        while entities or kept or lacks:
            self._client.log_batch(name, metrics=entities[:METRICS], params=kept[:PARAMS], tags=lacks)
            entities, kept, lacks = entities[METRICS:], kept[PARAMS:], []


def _key(run: FinalRun) -> str:
    return f"{run.job.fingerprint} {run.recipe}"
