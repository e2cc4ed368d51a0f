"""Saved views of the table of runs, offered by MLflow's UI under Views: filter, order and columns of what matters here.

MLflow keeps a view as a tag of the experiment; versions before 3.17 open it by its address alone.
"""

import json
import time
from collections.abc import Sequence

PREFIX = "mlflow.sharedViewState."
SIZE = ("state_bytes_target", "growth_exponent", "reach_tokens_effective", "parameters")


def _view(name: str, order: str, asked: str, metrics: Sequence[str], tags: Sequence[str]) -> str:
    columns = [f"metrics.`{each}`" for each in (order, *metrics)] + [f"tags.`{each}`" for each in tags]
    state = {
        "searchFilter": asked,
        "orderByKey": f"metrics.`{order}`",
        "orderByAsc": True,
        "selectedColumns": columns,
    }
    return json.dumps({"name": name, "createdAt": int(time.time() * 1000), "state": json.dumps(state)})


def of_search() -> dict[str, str]:
    """Tags of a search's experiment: its trials, and the designs of its finalists."""
    trials = ("late_loss", *SIZE, "tokens_per_second")
    finals = ("test_late_loss_low", "test_late_loss_high", "difference", "effective_context", *SIZE)
    return {
        f"{PREFIX}l2m-trials": _view(
            "L²M: trials", "objective", "tags.trial LIKE '%'", trials, ("trial", "design", "state", "stage", "chosen")
        ),
        f"{PREFIX}l2m-finalists": _view(
            "L²M: finalists", "test_late_loss", "tags.stage = 'finalist'", finals, ("design", "state", "chosen")
        ),
    }


def of_adoption() -> dict[str, str]:
    """Tags of the experiment of a search of a model's cache: its plans."""
    metrics = ("test_late_loss_above_low", "test_late_loss_above_high", "state_share", "effective_context", *SIZE[:3])
    asked, tags = "params.plan LIKE '%'", ("design", "stage", "state", "chosen")
    return {f"{PREFIX}l2m-plans": _view("L²M: plans", "test_late_loss_above", asked, metrics, tags)}
