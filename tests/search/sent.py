"""What a tracking store holds of a study."""

from collections import Counter
from typing import Any

from mlflow import MlflowClient

from l2m_design.search.tracking.runs import RUN, STUDY
from l2m_design.search.tracking.store import experiment_name

TINY = experiment_name("tiny")  # the experiment of most studies here


def runs_of(uri: str, name: str | None = None) -> list[Any]:
    """The runs of an experiment, else of all."""
    client = MlflowClient(uri)
    experiments = [client.get_experiment_by_name(name)] if name else client.search_experiments()
    return client.search_runs([experiment.experiment_id for experiment in experiments], max_results=1000)


def trials_of(uri: str) -> dict[str, str]:
    """Status by number of each trial's run; fails where one is there twice."""
    children = [run for run in runs_of(uri) if "mlflow.parentRunId" in run.data.tags]
    keys = Counter(run.data.tags[RUN] for run in children)
    assert set(keys.values()) <= {1}, keys
    return {run.data.tags[RUN]: run.info.status for run in children}


def parents_of(uri: str) -> list[str]:
    return [run.info.status for run in runs_of(uri) if "mlflow.parentRunId" not in run.data.tags]


def sent_runs(uri: str, identity: str) -> list[Any]:
    """All that a store says of a study, in an order of its own: each metric's history too."""
    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    told = []
    for run in client.search_runs(experiments, f"tags.`{STUDY}` = '{identity}'"):
        histories = {
            key: sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key))
            for key in sorted(run.data.metrics)
        }
        files = [file.path for file in client.list_artifacts(run.info.run_id)]
        told.append((run.data.tags[RUN], run.info.status, sorted(run.data.params.items()), histories, files))
    return sorted(told, key=lambda one: one[0])
