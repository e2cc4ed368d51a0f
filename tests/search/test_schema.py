"""The schema that editors read: shipped as the code gives it, met by every shipped space, refused by broken ones."""

import json
import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from l2m_design.search import study_schema
from l2m_design.search.settings import beside
from l2m_design.search.space.schema import schema
from l2m_design.settings import read_mapping, to_json

SPACES = Path(__file__).parents[2] / "search_spaces"
SHIPPED = sorted(SPACES.glob("*.yaml"))
STUDIES = SPACES.parent / "configs"
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def valid(value: Any, rule: Any, whole: dict[str, Any]) -> bool:
    """The part of JSON Schema that the schema of spaces uses; a keyword that is not known here is an error."""
    if isinstance(rule, bool):
        return rule
    words = set(rule) - {"title", "description", "default", "$schema", "$defs", "then", "else", "properties"}
    return _fields(value, rule, whole) and all(
        _holds(word, value, rule, whole) for word in words - {"additionalProperties"}
    )


def _holds(word: str, value: Any, rule: dict[str, Any], whole: dict[str, Any]) -> bool:
    asked = rule.get(word)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if word == "if":
        return valid(value, rule["then"] if valid(value, asked, whole) else rule.get("else", True), whole)
    checks = {
        "$ref": lambda: valid(value, whole["$defs"][asked.rpartition("/")[2]], whole),
        "type": lambda: _typed(value, asked),
        "enum": lambda: value in asked,
        "const": lambda: value == asked,
        "anyOf": lambda: any(valid(value, part, whole) for part in asked),
        "allOf": lambda: all(valid(value, part, whole) for part in asked),
        "required": lambda: not isinstance(value, dict) or set(asked) <= set(value),
        "items": lambda: not isinstance(value, list) or all(valid(item, asked, whole) for item in value),
        "prefixItems": lambda: (
            not isinstance(value, list) or all(valid(v, p, whole) for v, p in zip(value, asked, strict=False))
        ),
        "minLength": lambda: not isinstance(value, str) or len(value) >= asked,
        "minItems": lambda: not isinstance(value, list) or len(value) >= asked,
        "maxItems": lambda: not isinstance(value, list) or len(value) <= asked,
        "minProperties": lambda: not isinstance(value, dict) or len(value) >= asked,
        "pattern": lambda: not isinstance(value, str) or re.search(asked, value) is not None,
        "minimum": lambda: not number or value >= asked,
        "maximum": lambda: not number or value <= asked,
        "exclusiveMinimum": lambda: not number or value > asked,
        "exclusiveMaximum": lambda: not number or value < asked,
        "multipleOf": lambda: not number or value % asked == 0,
    }
    return checks[word]()


def _typed(value: Any, asked: str) -> bool:
    if asked == "null" or value is None:
        return asked == "null" and value is None
    return isinstance(value, TYPES[asked]) and (asked == "boolean" or not isinstance(value, bool))


def _fields(value: Any, rule: dict[str, Any], whole: dict[str, Any]) -> bool:
    if not isinstance(value, dict):
        return True
    known, other = rule.get("properties", {}), rule.get("additionalProperties", True)
    return all(valid(part, known.get(name, other), whole) for name, part in value.items())


def test_the_shipped_schema_is_the_one_of_the_code() -> None:
    assert (SPACES / "schema.json").read_text() == to_json(schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_a_shipped_space_meets_the_schema_and_names_it(path: Path) -> None:
    head = list(takewhile(lambda line: line.startswith("# "), path.read_text().splitlines()))
    assert len(head) > 1
    assert head[-1] == "# yaml-language-server: $schema=schema.json"
    assert valid(read_mapping(path), schema(), schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_a_validator_that_others_wrote_agrees(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(read_mapping(path), json.loads((SPACES / "schema.json").read_text()))


@pytest.mark.parametrize(
    "broken",
    [
        {"deph": 3},
        {"depth": "four"},
        {"depth": True},
        {"layout": "random"},
        {"periods": []},
        {"kinds": {}},
        {"kinds": {"a": {"heads": 4}}},
        {"kinds": {"a": {"kind": "atention"}}},
        {"kinds": {"a": {"kind": "attention", "heads": 4, "head_dim": 32}}},
        {"kinds": {"a": {"kind": "attention", "heads": 4, "kv_heads": "two", "head_dim": 32}}},
        {"kinds": {"a": {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 32, "share": 0}}},
        {"kinds": {"a": {"kind": "mamba2", "d_state": 4, "head_dim": 8, "heads": 2}}},
        {"kinds": {"a": {"kind": "mamba2", "d_state": 4, "head_dim": 8, "state_dtype": "int8"}}},
        {"choices": {"window": []}},
        {"choices": {"window": [[1]]}},
        {"mlp": {"ratio": 0}},
    ],
    ids=str,
)
def test_a_broken_space_does_not_meet_the_schema(broken: dict[str, Any]) -> None:
    good = read_mapping(SPACES / "hybrid.yaml")
    assert not valid(good | broken, schema(), schema())


def test_a_template_may_name_a_choice_for_any_field_but_kind_and_share() -> None:
    good = read_mapping(SPACES / "hybrid.yaml")
    for name, field in {"kind": "$x", "share": "$x", "heads": "$x", "qk_norm": "$x"}.items():
        template = {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 32, name: field}
        assert valid(good | {"kinds": {"a": template}}, schema(), schema()) == (name in ("heads", "qk_norm"))


def test_the_shipped_schema_of_studies_is_the_one_of_the_code() -> None:
    assert (STUDIES / "schema.json").read_text() == to_json(study_schema.schema())


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(STUDIES.glob("*.yaml")) if "script" not in read_mapping(path)],
    ids=lambda p: p.name,
)
def test_a_shipped_study_meets_the_schema_and_names_it(path: Path) -> None:
    assert "# yaml-language-server: $schema=schema.json" in path.read_text().splitlines()
    assert valid(read_mapping(path), study_schema.schema(), study_schema.schema())


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("quickstart.yaml", {"workrs": 2}),
        ("quickstart.yaml", {"workers": "two"}),
        ("quickstart.yaml", {"search": {"sampler": "grid"}}),
        ("quickstart.yaml", {"recipe": {"tokens": -1}}),
        ("quickstart.yaml", {"condition": {"end": "middle"}}),
        ("smollm2-stdlib.yaml", {"space": "hybrid.yaml"}),
        ("smollm2-stdlib.yaml", {"grain": "block"}),
        ("smollm2-stdlib.yaml", {"options": []}),
    ],
    ids=str,
)
def test_a_broken_study_does_not_meet_the_schema(name: str, broken: dict[str, Any]) -> None:
    assert not valid(read_mapping(STUDIES / name) | broken, study_schema.schema(), study_schema.schema())


def test_a_corpus_beside_the_study_is_named_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tmp_path / "configs" / "texts"
    texts.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    assert beside(tmp_path / "configs", "texts:glob=*.md") == "configs/texts:glob=*.md"
    assert beside(Path("configs"), "stdlib") == "stdlib"
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert beside(tmp_path / "configs", "texts") == str(texts)
