"""Plan files: the plan that a study with `start` wrote, as its file says it."""

from pathlib import Path
from typing import Any

from l2m_design.settings import Values, read_mapping

START, PLAN = "start", "plan"


class PlanCard(Values):
    """plan.yaml: the model that a plan is for, what each layer keeps, what was measured.

    state_bytes: at `length` tokens, keys and values in `dtype`, which need not be the model's. healed: weights, if
    others.
    """

    start: str
    plan: list[Any]
    picture: str
    state_bytes: int
    length: int
    dtype: str | None = None
    losses: str
    study: str
    start_fingerprint: str
    healed: str | None = None


def is_plan(source: str | Path) -> bool:
    """Is this file a plan?"""
    path = Path(source).expanduser()
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    return {START, PLAN} <= read_mapping(path).keys()
