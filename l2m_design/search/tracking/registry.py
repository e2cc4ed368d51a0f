"""A folder of an export as a version of a registered model."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l2m_design.errors import BadInput, WorkFailed, first_line
from l2m_design.search.tracking import store
from l2m_design.search.tracking.source import source_tags

ALIAS = "champion"  # of the version that was registered last; MLflow's word for the one in use
FOLDER = "model"  # of the run's artifacts
NAME = re.compile(r"[^/:]+")  # as MLflow takes it


def check_model_name(name: str) -> None:
    """Raises BadInput if MLflow does not accept the name."""
    if not NAME.fullmatch(name) or not name.strip():
        raise BadInput(f"--register: found '{name}'; a model's name must not be empty or contain / or :")


def _make_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def register(uri: str, folder: Path, name: str, study: str | None, tags: Mapping[str, str]) -> dict[str, str]:
    """Store a folder as artifacts of a run, and as the next version of a registered model, which ALIAS then names.

    study: the run is made in its experiment. Returns name, version, alias and the URI that loads the model. Raises
    WorkFailed if the store does not accept it.
    """
    try:
        client = store.connected(uri)
        experiment = store.made_experiment(client, uri, store.experiment_name(study))
        run = client.create_run(experiment, tags={**source_tags("l2m export"), **tags}, run_name=f"export {name}")
        client.log_artifacts(run.info.run_id, str(folder), FOLDER)
        _make_model(client, name)
        kept = f"{run.info.artifact_uri}/{FOLDER}"
        version = str(client.create_model_version(name, kept, run.info.run_id, tags={**tags}).version)
        client.set_registered_model_alias(name, ALIAS, version)
        client.set_terminated(run.info.run_id)
    except BadInput:
        raise
    except Exception as error:  # a tracking server may fail in any way
        raise WorkFailed(f"--register: {uri} failed: {type(error).__name__}: {first_line(error)}") from None
    return {"name": name, "version": version, "alias": ALIAS, "uri": f"models:/{name}@{ALIAS}"}
