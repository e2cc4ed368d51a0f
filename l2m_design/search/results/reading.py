"""study.json: a summary as JSON, and read back from it."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from l2m_design.errors import BadInput
from l2m_design.search.results.choice import FULL
from l2m_design.search.results.values import Summary
from l2m_design.search.space.known import REFERENCE
from l2m_design.settings import Json, first_error, read_text

STUDY = "study.json"


@cache
def _adapter() -> "TypeAdapter[Summary]":
    return TypeAdapter(Summary)


def plain(summary: Summary) -> Json:
    """JSON-ready, with the keys that other programs rely on."""
    return _adapter().dump_python(summary, mode="json", by_alias=True)


def of_plain(data: Mapping[str, Any], where: str) -> Summary:
    """The summary that `plain` wrote, of this version or an earlier one. Raises BadInput with the field."""
    version = data.get("version")
    if version is None or "study" not in data:
        raise BadInput(f"{where}: not the summary of a study: no '{'study' if version else 'version'}'")
    try:
        return _adapter().validate_python(_brought_forward(data))
    except ValidationError as error:
        raise BadInput(
            f"{where}: written by version {version}, which this version cannot read: {first_error(error)}; search again"
        ) from None


def load_summary(place: str | Path) -> Summary:
    """A study's summary from study.json or its folder. Raises BadInput when there is none."""
    path, data = stored(place)
    return of_plain(data, str(path))


def stored(place: str | Path) -> tuple[Path, dict[str, Any]]:
    """The path of a study.json, by itself or its folder, and what it holds. Raises BadInput."""
    path = Path(place)
    path = path / STUDY if path.is_dir() else path
    try:
        data = json.loads(read_text(path))
    except ValueError as error:
        raise BadInput(f"{path}: not the summary of a study: {error}") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path}: not the summary of a study: {type(data).__name__} instead of keys and values")
    return path, data


def _brought_forward(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """A summary of the first studies, which compared all models with full attention and trained by AdamW alone: what
    they did not say because there was no other.
    """
    choice, settings = data.get("choice"), data.get("settings")
    if not isinstance(choice, dict) or not isinstance(settings, dict) or "differences" not in choice:
        return data
    compared = {name: {"difference": gap, "lost_gain": None} for name, gap in choice["differences"].items()}
    recipe = {"optimiser": "adamw"}
    return {
        "reference": REFERENCE,
        "trial_reference": REFERENCE,
        **data,
        "choice": {**choice, "comparisons": compared, "recipe": recipe | choice.get("recipe", {})},
        "settings": {
            **settings,
            "recipe": recipe | settings.get("recipe", {}),
            "choice": {"reference": FULL} | settings.get("choice", {}),
        },
    }
