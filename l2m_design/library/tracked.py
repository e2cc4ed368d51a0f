"""One training run in MLflow: params, metrics and the loss curve, with the same names as trials of a study.

A failure of tracking never stops the training; it is reported in one line. A run that continues from a checkpoint also
continues its MLflow run, which is found by its tag.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from l2m_design.errors import first_line
from l2m_design.search.tracking import store
from l2m_design.search.tracking.source import source_tags
from l2m_design.settings import to_yaml

if TYPE_CHECKING:
    from l2m_design.training.result import Result
    from l2m_design.training.trained import Training

RUN = "l2m.train"  # tag: the identity of a run
METRICS = (
    "late_loss", "test_late_loss", "mi_captured_nats", "peak_memory_bytes", "train_seconds", "compile_seconds",
    "late_excess_nats",
)  # fmt: skip


class Tracked:
    """A run in the store at `uri`. trouble: why it could not be stored, in one line."""

    def __init__(self, uri: str, work: "Training") -> None:
        self.trouble: str | None = None
        self._uri, self._work = uri, work
        self._client: Any = None
        self._run = ""

    def log(self, result: "Result") -> None:
        """Send the results of the run."""
        self._try(lambda: self._log(result))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """In this block the run has the status RUNNING; after it FINISHED, KILLED (by an interrupt) or FAILED."""
        self._try(self._open)
        try:
            yield
        except BaseException as error:
            self._end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        self._end("FINISHED")

    def _open(self) -> None:
        self._client = client = store.connected(self._uri)
        experiment = store.made_experiment(client, self._uri, store.experiment_name())
        asked = f"tags.`{RUN}` = '{self._work.identity}' and attributes.status != 'FINISHED'"
        runs = client.search_runs([experiment], asked)
        if runs:
            self._run = runs[0].info.run_id
            client.update_run(self._run, status="RUNNING")
            return
        tags = {
            RUN: self._work.identity,
            "picture": self._work.architecture.picture,
            **source_tags("l2m train"),
        }
        self._run = client.create_run(experiment, tags=tags, run_name=f"train {tags['picture']}").info.run_id
        self._params()

    def _params(self) -> None:
        from mlflow.entities import Param

        work = self._work
        named = {f"recipe.{key}": value for key, value in work.recipe.plain().items()}
        named |= {"corpus": work.corpus.name, "parameters": work.architecture.parameters, "processes": work.processes}
        self._client.log_batch(self._run, params=[Param(key, str(value)[:500]) for key, value in named.items()])

    def _log(self, result: "Result") -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        values = {key: getattr(result, key) for key in METRICS}
        metrics = [Metric(key, value, now, 0) for key, value in values.items() if value is not None]
        metrics += [Metric("train_loss", loss, now, tokens) for tokens, loss in result.curve]
        self._client.log_batch(self._run, metrics=metrics)
        self._client.log_text(self._run, to_yaml(self._work.architecture.plain()), "architecture.yaml")

    def _end(self, status: str) -> None:
        self._try(lambda: self._client.set_terminated(self._run, status))

    def _try(self, call: Callable[[], Any]) -> None:
        """Call the store; no failure of it stops the training. After a failure nothing more is sent."""
        if self.trouble is None:
            try:
                call()
            except Exception as error:
                self.trouble = f"{type(error).__name__}: {first_line(error)}"


def check_store(uri: str) -> None:
    """Raises BadInput if MLflow has no kind of store for the URI. The store itself is not contacted."""
    store.check_uri(uri, "`tracking`")


def connected(uri: str, work: "Training") -> Tracked:
    """Return the run of a training in a store. Raises BadInput as `check_store` does."""
    check_store(uri)
    return Tracked(uri, work)
