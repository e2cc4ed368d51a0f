"""Plan files: the plan that a study with `start` wrote, as its file says it."""

import os
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


def written_in(folder: Path, name: str) -> str:
    """A model or weights as a plan file in this folder names them: a path from there, if both lie in the working
    directory, so that they may be moved together; else a full path, or a name on the Hub as it is.
    """
    path, here = Path(name).resolve(), Path.cwd()
    if not path.exists():
        return name
    inside = path.is_relative_to(here) and folder.resolve().is_relative_to(here)
    return os.path.relpath(path, folder.resolve()) if inside else str(path)


def read_in(folder: Path, name: str) -> str:
    """What `written_in` named, as a path from here."""
    return str(folder / name) if (folder / name).exists() else name


def is_plan(source: str | Path) -> bool:
    """Is this file a plan?"""
    path = Path(source).expanduser()
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    return {START, PLAN} <= read_mapping(path).keys()
