"""The runs of one study in the store: found by their tags or made, and completed with the values they do not have."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from l2m_design.search.tracking import store
from l2m_design.search.tracking.views import PREFIX

STUDY, RUN = "l2m.study", "l2m.run"  # tags: the study's identity; PARENT, a trial's number, or a finalist's fingerprint
PARENT = "parent"
OURS = "fingerprint"  # param: of the architecture that a run is of
METRICS, PARAMS = 800, 100  # of one call; MLflow takes 1000 things, 100 of them params
NO_NAME = re.compile(r"[^\w.: -]")  # what MLflow refuses in the name of a param
LONGEST_TAG = 5000
DIGITS = 6  # of a metric that is no whole number: the table of runs shows all that there are
Point = tuple[str, int, float]  # name, step (tokens read), value


@dataclass
class Seen:
    """What a run is known to contain in the store. steps: by metric, as far as they were read; new: made here, so that
    it contains nothing else.
    """

    id: str
    status: str
    experiment: str
    params: dict[str, str]
    tags: dict[str, str]
    values: dict[str, float]
    steps: dict[str, set[int]] = field(default_factory=dict)
    new: bool = False

    @classmethod
    def of(cls, run: Any, new: bool = False) -> "Seen":
        """The content of a run of MLflow."""
        data, info = run.data, run.info
        return cls(
            info.run_id, info.status, info.experiment_id, {**data.params}, {**data.tags}, {**data.metrics}, new=new
        )


@dataclass(frozen=True)
class Made:
    """How a run is made. seconds: time that its work took before. fingerprint: that of its architecture."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    fingerprint: str | None = None


class Runs:
    """The runs of a study, by RUN. study: its name; identity: what tells it from all others of that name;
    views: tags of its experiment, where that is made.

    Raises what MLflow raises, and BadInput where the experiment was deleted.
    """

    def __init__(self, uri: str, study: str, identity: str, views: Mapping[str, str]) -> None:
        self.uri, self.identity = uri, identity
        self._study, self._views = study, views
        self.client: Any = None
        self.experiment: str | None = None
        self._there: dict[str, Seen] | None = None  # none until they are looked up

    def forget(self) -> None:
        """Forget what is known of the store, so that it is read again."""
        self.experiment = self._there = None

    def open(self, parent: str | None) -> Seen | None:
        """Find or make the experiment, at the first call; the run with this id, where it is there and not deleted.

        A study whose runs lie in another experiment stays there, unless the environment names one.
        """
        if self.client is None:
            self.client = store.connected(self.uri)
        seen = self._active(parent) if parent else None
        if seen and not store.named_experiment():
            self.experiment = seen.experiment
        else:
            name = store.experiment_name(self._study)
            self.experiment = store.made_experiment(self.client, self.uri, name, self._views)
        return seen if seen and seen.experiment == self.experiment else None

    @property
    def page(self) -> str:
        """Address of the table of runs: on the server, or where `mlflow ui` serves a database."""
        host = self.uri if self.uri.startswith("http") else store.UI
        there = self.client.get_experiment(self.experiment).tags
        return f"{host}/#/experiments/{self.experiment}/runs?{store.WORKFLOW}" + next(
            (f"&viewStateShareKey={key.removeprefix(PREFIX)}" for key in self._views if key in there), ""
        )

    def _active(self, run: str) -> Seen | None:
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_run(run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return Seen.of(found) if found.info.lifecycle_stage == "active" else None

    def found(self, asked: str = "") -> list[Any]:
        """The study's runs in the store, the oldest first. asked: a filter string of MLflow."""
        asked = " and ".join(filter(None, (f"tags.`{STUDY}` = '{self.identity}'", asked)))
        order, found, token = ["attributes.start_time"], list[Any](), None
        while True:
            page = self.client.search_runs([self.experiment], asked, order_by=order, page_token=token)
            found += page
            if not (token := page.token):
                return found

    def at(self, key: str, made: Made) -> Seen:
        """The run with this key; a new one if there is none, or if the existing one has another architecture."""
        if self._there is None:
            self._there = {run.data.tags.get(RUN, ""): Seen.of(run) for run in reversed(self.found())}
        known = self._there.get(key)
        if known and made.fingerprint and known.params.get(OURS, made.fingerprint) != made.fingerprint:
            self.client.delete_run(known.id)  # drawn anew after the search was cut off
            known = None
        if known is None:
            tags = {**made.tags, STUDY: self.identity, RUN: key}
            start = int((time.time() - made.seconds) * 1000)
            run = self.client.create_run(self.experiment, start_time=start, tags=tags, run_name=made.name)
            self._there[key] = known = Seen.of(run, new=True)
        return known

    def log(
        self,
        run: Seen,
        metrics: Mapping[str, float],
        params: Mapping[str, object],
        series: Iterable[Point] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Send the values that the run does not have."""
        from mlflow.entities import Metric, Param, RunTag

        series, now = list(series), int(time.time() * 1000)
        for key in {name for name, _, _ in series} & run.values.keys() - run.steps.keys():
            history = [] if run.new else self.client.get_metric_history(run.id, key)
            run.steps[key] = {metric.step for metric in history}
        rounded = {key: _rounded(value) for key, value in metrics.items()}
        points = [(key, 0, value) for key, value in rounded.items() if run.values.get(key) != value]
        points += [(key, step, value) for key, step, value in series if step not in run.steps.get(key, ())]
        named = {NO_NAME.sub("_", key): str(value)[:500] for key, value in params.items() if value is not None}
        named = {key: value for key, value in named.items() if key not in run.params}
        told = {key: value[:LONGEST_TAG] for key, value in (tags or {}).items() if run.tags.get(key) != value}
        entities, kept = [Metric(key, value, now, step) for key, step, value in points], list(named.items())
        lacks = [RunTag(key, value) for key, value in told.items()]
        while entities or kept or lacks:
            first = [Param(key, value) for key, value in kept[:PARAMS]]
            self.client.log_batch(run.id, metrics=entities[:METRICS], params=first, tags=lacks)
            entities, kept, lacks = entities[METRICS:], kept[PARAMS:], []
        run.params |= named
        run.tags |= told
        for key, step, value in points:
            run.values[key] = value
            run.steps.setdefault(key, set()).add(step)

    def status(self, run: Seen, status: str) -> None:
        """Open a run again, or end it."""
        if status == "RUNNING":
            self.client.update_run(run.id, status=status)
        else:
            self.client.set_terminated(run.id, status)
        run.status = status


def _rounded(value: float) -> float:
    return value if value == round(value) else float(f"{value:.{DIGITS}g}")
