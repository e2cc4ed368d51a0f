"""The JSON schema of search spaces, for editors: mixer templates with the fields of their kind, or names of choices."""

from typing import Any, get_args

from pydantic import TypeAdapter

from l2m_design.architecture import MixerSpec
from l2m_design.search.space.sharing import NEAREST
from l2m_design.search.space.space import Space

DRAFT = "https://json-schema.org/draft/2020-12/schema"
NAMED = {"type": "string", "pattern": r"^\$.+", "description": "the name of a choice"}


def schema() -> dict[str, Any]:
    """The schema of a space's file."""
    whole = Space.model_json_schema()
    union = TypeAdapter(MixerSpec).json_schema()
    definitions = {name: part for name, part in union["$defs"].items() if "kind" not in part.get("properties", {})}
    templates = [_template(model.model_json_schema()) for model in get_args(get_args(MixerSpec)[0])]
    kinds = [template["if"]["properties"]["kind"]["const"] for template in templates]
    whole["properties"]["kinds"] |= {
        "minProperties": 1,
        "additionalProperties": {
            "type": "object",
            "required": ["kind"],
            "properties": {"kind": {"enum": kinds, "description": "the mixer"}},
            "allOf": templates,
        },
    }
    whole["$defs"] = whole.get("$defs", {}) | definitions
    return {"$schema": DRAFT} | whole


def _template(mixer: dict[str, Any]) -> dict[str, Any]:
    """What a template of this mixer's kind may hold."""
    kind = mixer["properties"]["kind"]["const"]
    fields: dict[str, Any] = {}
    for name, field in mixer["properties"].items():
        described = {key: field[key] for key in ("default",) if key in field}
        typed = {key: value for key, value in field.items() if key not in ("title", "default")}
        fields[name] = described | {"anyOf": [*typed.get("anyOf", [typed]), NAMED]}
    fields["kind"] = {"const": kind}
    if "share" in fields:
        fields["share"] = {"const": NEAREST}
    return {
        "if": {"properties": {"kind": {"const": kind}}},
        "then": {
            "description": mixer.get("description", ""),
            "properties": fields,
            "required": ["kind", *(name for name in mixer.get("required", []) if name != "kind")],
            "additionalProperties": False,
        },
    }
