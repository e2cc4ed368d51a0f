"""What a tracking store holds of a study."""

from collections import Counter
from typing import Any

from mlflow import MlflowClient

from l2m_design.search.tracking import EXPERIMENT, RUN, STUDY


def runs_of(uri: str, name: str = EXPERIMENT) -> list[Any]:
    client = MlflowClient(uri)
    return client.search_runs([client.get_experiment_by_name(name).experiment_id], max_results=1000)


def trials_of(uri: str) -> dict[str, str]:
    """Status by name of each trial's run; fails where one is there twice."""
    children = [run for run in runs_of(uri) if "mlflow.parentRunId" in run.data.tags]
    names = Counter(run.info.run_name for run in children)
    assert set(names.values()) <= {1}, names
    return {run.info.run_name: run.info.status for run in children}


def parents_of(uri: str) -> list[str]:
    return [run.info.status for run in runs_of(uri) if "mlflow.parentRunId" not in run.data.tags]


def sent_runs(uri: str, identity: str) -> list[Any]:
    """All that a store says of a study, in an order of its own: each metric's history too."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    told = []
    for run in client.search_runs([experiment], f"tags.`{STUDY}` = '{identity}'"):
        histories = {
            key: sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key))
            for key in sorted(run.data.metrics)
        }
        files = [file.path for file in client.list_artifacts(run.info.run_id)]
        told.append((run.data.tags[RUN], run.info.status, sorted(run.data.params.items()), histories, files))
    return sorted(told, key=lambda one: one[0])
