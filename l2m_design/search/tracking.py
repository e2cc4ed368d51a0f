"""MLflow's one door: a parent run a study, a nested run a trial, sent from the records on disk.

A tracking failure never fails a trial: what could not be sent stays unsent and goes with a later call.
"""

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from l2m_design.errors import BadInput, first_line
from l2m_design.laws import Dtypes
from l2m_design.search.folder import read_kept
from l2m_design.search.record import Record
from l2m_design.search.results.finalists import FinalRun
from l2m_design.settings import to_json, to_yaml, write_atomically
from l2m_design.training.result import Result

EXPERIMENT = "l2m-design"
STATE_LENGTHS = (1024, 4096, 16384, 65536, 262144)
STORES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # else 7, 120: minutes a call
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds for which a store that failed is left alone
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "infeasible": "KILLED", "failed": "FAILED"}


def default_uri() -> str:
    """$MLFLOW_TRACKING_URI, else a sqlite file in the current folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def check_uri(uri: str) -> None:
    """Raises BadInput when MLflow would know no store for the URI; whether one answers is seen later."""
    if uri.partition("://")[0].partition("+")[0] not in STORES:
        raise BadInput(f"--tracking {uri}: no store of that kind; allowed: {', '.join(s + '://' for s in STORES)}")


class Tracker:
    """Sends records to MLflow once each; remembers in `ledger` (a JSON file) what was sent, store by store."""

    def __init__(self, uri: str, study: str, params: dict[str, Any], dtypes: str | Dtypes, ledger: Path) -> None:
        self.uri = uri
        self._study, self._params, self._dtypes, self._ledger = study, params, dtypes, ledger
        self._ledgers: dict[str, dict[str, str]] = read_kept(ledger)
        self._sent = self._ledgers.setdefault(uri, {})
        self._client: Any = None
        self.trouble: str | None = None
        self._pause, self._again = FIRST_PAUSE, 0.0

    def sync(self, records: Iterable[Record], runs: Iterable[FinalRun] = (), last: bool = False) -> None:
        """Send every trial and every finalist's run not sent before.

        Never raises: `trouble` says in one line what went wrong. A store that failed is left alone for a while, unless
        this is the last call.
        """
        if time.monotonic() < self._again and not last:
            return
        try:
            self._parent()
            for record in records:
                if str(record.number) not in self._sent:
                    self._sent[str(record.number)] = self._send(record)
                    self._remember()
            for run in runs:
                if run.job.fingerprint not in self._sent:
                    self._sent[run.job.fingerprint] = self._send_final(run)
                    self._remember()
            self.trouble, self._pause = None, FIRST_PAUSE
        except Exception as error:  # a tracking server may fail in any way; the search must not
            self.trouble = f"{type(error).__name__}: {first_line(error)}"
            self._again, self._pause = time.monotonic() + self._pause, min(LONGEST_PAUSE, 2 * self._pause)

    def finish(self, metrics: dict[str, float], files: Iterable[Path]) -> None:
        """Close the parent run with the study's outcome and files, unless records could not be sent. Never raises."""
        if self.trouble:
            return
        try:
            parent = self._parent()
            self._log(parent, metrics, {})
            for file in files:
                self._client.log_artifact(parent, str(file))
            self._client.set_terminated(parent)
        except Exception as error:  # as above
            self.trouble = f"{type(error).__name__}: {first_line(error)}"

    def _remember(self) -> None:
        write_atomically(self._ledger, to_json(self._ledgers))

    def _parent(self) -> str:
        if self._client is None:
            for name, value in PATIENCE.items():
                os.environ.setdefault(name, value)
            from mlflow import MlflowClient

            for chatty in ("alembic", "mlflow"):
                logging.getLogger(chatty).setLevel(logging.WARNING)
            self._client = MlflowClient(self.uri)
            self._forget_what_is_gone()
        if "parent" not in self._sent:
            found = self._client.get_experiment_by_name(EXPERIMENT)
            experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
            run = self._client.create_run(experiment, run_name=self._study)
            self._log(run.info.run_id, {}, self._params)
            self._sent |= {"parent": run.info.run_id, "experiment": experiment}
            self._remember()
        return self._sent["parent"]

    def _forget_what_is_gone(self) -> None:
        """A store that was deleted or made anew is sent everything again."""
        from mlflow.exceptions import MlflowException

        try:
            if "parent" in self._sent:
                self._client.get_run(self._sent["parent"])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._sent.clear()

    def _send(self, record: Record) -> str:
        parent = self._parent()
        tags = {"mlflow.parentRunId": parent, "state": record.state, "picture": record.picture}
        tags |= {"design": record.design} if record.design else {}
        tags |= {"reason": record.reason} if record.reason else {}
        name = f"{record.number:03d} {record.picture}"
        run = self._client.create_run(self._sent["experiment"], tags=tags, run_name=name).info.run_id
        params = record.params | {"drawing": record.fingerprint, "copy_of": record.copy_of}
        self._log(run, trial_metrics(record, self._dtypes), params, curves(record))
        self._client.log_text(run, to_yaml(record.architecture), "architecture.yaml")
        self._client.set_terminated(run, STATUS[record.state])
        return str(run)

    def _send_final(self, final: FinalRun) -> str:
        job, result = final.job, final.result
        tags = {"mlflow.parentRunId": self._parent(), "state": "finalist", "design": job.name}
        tags |= {"reason": final.reason} if final.reason else {}
        name = f"finalist {job.name}, {job.length} tokens, seed {job.seed}"
        run = self._client.create_run(self._sent["experiment"], tags=tags, run_name=name).info.run_id
        metrics = run_metrics(result) if result else {}
        series = [("train_loss", tokens, loss) for tokens, loss in result.curve] if result else []
        self._log(run, metrics, {"length": job.length, "rate": job.rate, "seed": job.seed}, series)
        self._client.log_text(run, to_yaml(job.architecture), "architecture.yaml")
        self._client.set_terminated(run, "FINISHED" if result else "FAILED")
        return str(run)

    def _log(
        self,
        run: str,
        metrics: dict[str, float],
        params: dict[str, Any],
        series: Iterable[tuple[str, int, float]] = (),
    ) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        points = [(key, 0, value) for key, value in metrics.items()] + list(series)
        entities = [Metric(key, value, now, step) for key, step, value in points]
        for begin in range(0, max(1, len(entities)), 1000):
            self._client.log_batch(run, metrics=entities[begin : begin + 1000])
        kept = [Param(key, str(value)[:500]) for key, value in params.items() if value is not None]
        for begin in range(0, len(kept), 100):
            self._client.log_batch(run, params=kept[begin : begin + 100])


def trial_metrics(record: Record, dtypes: str | Dtypes) -> dict[str, float]:
    """What a trial's run shows: losses, state at several lengths, exponent, constraint slacks."""
    metrics: dict[str, float] = {
        "parameters": record.parameters,
        "growth_exponent": record.verdict["growth_exponent"],
        "growth_slack": record.verdict["growth_exponent"] - record.verdict["asked_exponent"],
        "state_bytes_target": record.state_bytes,
        "seconds": record.seconds,
    }
    state = record.drawing.state
    metrics |= {f"state_bytes_{length}": state.bytes(length, dtypes) for length in STATE_LENGTHS}
    metrics |= {f"level_slack_{length}": slack for length, slack in (record.verdict["level_slack"] or {}).items()}
    if record.value is not None:
        metrics["objective"] = record.value
    metrics["learning_rate_factor"] = record.rate
    if record.recall is not None:
        metrics["recall_excess_nats"] = record.recall
    return metrics | (run_metrics(record.outcome) if record.outcome else {})


def run_metrics(result: Result) -> dict[str, float]:
    """What any training run shows."""
    metrics: dict[str, float] = {
        "late_loss": result.late_loss,
        "test_late_loss": result.test_late_loss,
        "mi_captured_nats": result.mi_captured_nats,
        "peak_memory_bytes": result.peak_memory_bytes,
        "train_seconds": result.train_seconds,
        "compile_seconds": result.compile_seconds,
    }
    optional = {"late_excess_nats": result.late_excess_nats, "decode_ms": result.decode_ms}
    return metrics | {name: value for name, value in optional.items() if value is not None}


def curves(record: Record) -> list[tuple[str, int, float]]:
    """(name, tokens read, nats): the training loss and the looks at the rungs."""
    points = [("rung_late_loss", tokens, loss) for tokens, loss in record.rungs]
    if record.outcome:
        points += [("train_loss", tokens, loss) for tokens, loss in record.outcome.curve]
    return points
