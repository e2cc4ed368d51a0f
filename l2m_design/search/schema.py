"""The JSON schema of study.json: of studies that search new models, and of those that start from one."""

from typing import Any

from pydantic import TypeAdapter

from l2m_design.search.adoption.results import KIND, AdoptionSummary
from l2m_design.search.results.reading import STUDY
from l2m_design.search.results.values import Summary
from l2m_design.settings import Json


def schema() -> Json:
    """Of both: `kind` tells a study with `start` (AdoptionSummary) from any other (Summary)."""
    both: list[tuple[str, Any, TypeAdapter[Any]]] = [
        ("new", "validation", TypeAdapter(Summary)),
        (KIND, "validation", TypeAdapter(AdoptionSummary)),
    ]
    parts, shared = TypeAdapter.json_schemas(both)
    starts = {"properties": {"kind": {"const": KIND}}, "required": ["kind"]}
    made: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": STUDY}
    found: Json = _open(made | shared)
    return found | {"if": starts, "then": parts[KIND, "validation"], "else": parts["new", "validation"]}


def _open(schema: Any) -> Any:
    """The same schema for readers: later versions may write more keys."""
    if isinstance(schema, list):
        return [_open(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _open(part) for key, part in schema.items() if (key, part) != ("additionalProperties", False)}
