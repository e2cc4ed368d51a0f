"""A small study with `start`, for the tests that need one."""

from pathlib import Path
from typing import Any

from l2m_design.search.adoption.run import Adoption
from l2m_design.search.adoption.settings import load_adoption
from l2m_design.search.run import Folders
from l2m_design.search.tracking.store import default_uri

ADOPTION: dict[str, Any] = {
    "name": "small",
    "start": "model",
    "corpus": "texts",
    "length": 100,
    "chunk": 8,
    "options": [
        {"cache": "window", "share": 0.2},
        {"cache": "sparse", "share": 0.4, "sinks": 2},
    ],
    "budgets": [0.7, 0.45],
    "windows": {"costs": 2, "test": 10, "recall": 0},
    "correction": {"random_plans": 4, "trials": 2},
    "fit": 1,
    "device": "cpu",
}


def study(place: Path, *overrides: str) -> Adoption:
    settings = load_adoption(place / "study.yaml", overrides)
    return Adoption(settings, Folders(place / "runs", place / "reports"), default_uri())
