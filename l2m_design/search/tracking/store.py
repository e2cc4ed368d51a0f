"""The tracking store: its URI, a client that does not wait long, and the experiment of a study."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l2m_design.errors import BadInput
from l2m_design.search.pause import within

EXPERIMENT = "l2m-design"  # of single runs; a study has its own, EXPERIMENT/NAME
STORES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # else 7, 120: minutes a call
QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}  # else a line on stdout for each run that a server ends
LONGEST_WAIT = 30.0  # seconds for a database to open or artifacts to be stored, whatever a driver tries
# without them the UI opens its views of GenAI: by a tag in earlier versions, by the address since 3.17
KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"
WORKFLOW = "workflowType=machine_learning"
UI = "http://127.0.0.1:5000"  # of `mlflow ui`


def default_uri() -> str:
    """$MLFLOW_TRACKING_URI, else a sqlite file in the current folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def named_experiment() -> str | None:
    """$MLFLOW_EXPERIMENT_NAME, which several studies may share."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or None


def experiment_name(study: str | None = None) -> str:
    """The experiment of a study, or of single runs; $MLFLOW_EXPERIMENT_NAME comes first."""
    return named_experiment() or (f"{EXPERIMENT}/{study}" if study else EXPERIMENT)


def check_uri(uri: str, where: str = "--tracking") -> None:
    """Raises BadInput if MLflow has no kind of store for the URI. The store itself is not contacted."""
    if uri.partition("://")[0].partition("+")[0] not in STORES:
        raise BadInput(f"{where} {uri}: unknown kind of store; allowed: {', '.join(s + '://' for s in STORES)}")


def check_experiment(uri: str, study: str) -> None:
    """Raises BadInput if the experiment of the study was deleted; `Tracker` handles a store that does not respond."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return
    try:
        found_experiment(connected(uri), uri, experiment_name(study))
    except BadInput:
        raise
    except Exception:  # a tracking server may fail in any way; the search must not
        return


def connected(uri: str) -> Any:
    """A client. Raises what MLflow raises, and TimeoutError after LONGEST_WAIT seconds."""
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    return within(LONGEST_WAIT, lambda: MlflowClient(uri))


def found_experiment(client: Any, uri: str, name: str) -> str | None:
    """The id of the experiment, if it exists. Raises BadInput if it was deleted."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return None
    if found.lifecycle_stage == "deleted":
        raise BadInput(
            f"--tracking {uri}: the experiment '{name}' was deleted; restore it (MLFLOW_TRACKING_URI={uri} mlflow "
            f"experiments restore --experiment-id {found.experiment_id}), or name another in MLFLOW_EXPERIMENT_NAME"
        )
    if KIND not in found.tags:  # of earlier versions, or made by hand
        client.set_experiment_tag(found.experiment_id, KIND, TRAINING)
    return str(found.experiment_id)


def made_experiment(client: Any, uri: str, name: str, tags: Mapping[str, str] | None = None) -> str:
    """The experiment's id; it is made, with these tags, where there is none.

    Raises as `found_experiment`, and what MLflow raises.
    """
    from mlflow.exceptions import MlflowException

    if known := found_experiment(client, uri, name):
        return known
    try:
        return str(client.create_experiment(name, tags={KIND: TRAINING, **(tags or {})}))
    except MlflowException as error:
        if error.error_code == "RESOURCE_ALREADY_EXISTS" and (made := found_experiment(client, uri, name)):
            return made  # by another search at the same moment
        raise
