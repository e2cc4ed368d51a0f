"""Strict values: read from YAML or JSON, overridden by dotted keys, known by a fingerprint."""

import difflib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from l2m_design.errors import BadInput

Json = dict[str, object]  # what JSON text is made of; what is read of it is first made a value again


class Values(BaseModel):
    """A frozen set of named values; unknown keys, wrong types, NaN and infinities are refused.

    A field that is a tuple says strict=False, so that a list from YAML fits it. Validators are built at their
    first use: a command needs few of the classes that it imports.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            allowed = list(cls.model_fields)
            for key in data:
                if key not in cls.model_fields:
                    message = unknown_key(str(key), allowed).replace("{", "{{").replace("}", "}}")
                    raise PydanticCustomError("unknown_key", message)
        return data

    @classmethod
    def parse(cls, data: Any, where: str) -> Self:
        """Validate plain data; raises BadInput naming `where` and the first wrong field."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise BadInput(f"{where}: {first_error(error)}") from None

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> Self:
        """Read a YAML or JSON file, apply `a.b=value` overrides, validate. Raises BadInput."""
        return cls.parse(override(read_mapping(path), overrides), str(path))

    def plain(self) -> dict[str, Any]:
        """The values as JSON-ready data."""
        return self.model_dump(mode="json")

    def save(self, path: str | Path) -> None:
        """Write as YAML (or JSON when the name ends so), atomically."""
        is_json = Path(path).suffix == ".json"
        write_atomically(path, to_json(self.plain()) if is_json else to_yaml(self.plain()))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when any value does."""
        return fingerprint(self.plain())


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that looks most like `word`, if any looks alike."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return close[0] if close else None


def misspelt(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that `word` misses by one letter (by two from ten letters on), if there is one.

    Digits and the first letter are taken as meant: another number or initial names another thing.
    """
    reach = 1 if len(word) < 10 else 2
    digits = re.sub(r"\D", "", word)
    alike = [other for other in allowed if other[:1] == word[:1] and re.sub(r"\D", "", other) == digits]
    close = [(distance, other) for other in alike if (distance := _edits(word, other)) <= reach]
    return min(close)[1] if close else None


def _edits(one: str, other: str) -> int:
    """Letters to insert, delete or replace between two words."""
    row = list(range(len(other) + 1))
    for index, letter in enumerate(one[:100], 1):
        before, row[0] = row[0], index
        for place, wanted in enumerate(other, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (letter != wanted))
    return row[-1]


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """One sentence about an unknown key, with the nearest known one."""
    allowed = list(allowed)
    close = nearest(key, allowed)
    hint = f"did you mean '{close}'?" if close else f"allowed: {', '.join(allowed)}"
    return f"unknown key '{key}'; {hint}"


def first_error(error: ValidationError) -> str:
    """The first wrong field of what pydantic refused, and what was found there."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = re.sub(r"^Value error, ", "", first["msg"]).replace("a valid tuple", "a list")
    if first["type"] in ("unknown_key", "missing", "value_error"):
        found = ""
    else:
        text = json.dumps(first["input"], default=str)
        found = f", found {text if len(text) <= 60 else text[:57] + '...'}"
    return (f"{field}: " if field else "") + message[:1].lower() + message[1:] + found


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that reads 1e-3 as a number and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' is given twice", key.start_mark
                )
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str, where: str) -> Any:
    """Plain data from YAML text (JSON is YAML); raises BadInput with the line."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise BadInput(f"{where}: {line}not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise BadInput(f"{where}: not valid YAML: {str(error).splitlines()[0]}") from None


def read_text(path: str | Path) -> str:
    """A UTF-8 file's text, `~` expanded; raises BadInput when there is none."""
    file = Path(path).expanduser()
    try:
        if file.is_char_device() and not file.resolve() == Path("/dev/null"):
            raise BadInput(f"{path}: is a device, must be a file")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text at byte {error.start}") from None
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None


def read_mapping(path: str | Path) -> dict[str, Any]:
    """A YAML or JSON file that holds a mapping; raises BadInput otherwise."""
    data = parse_yaml(read_text(path), str(path))
    try:
        json.dumps(data, default=str)
    except (ValueError, TypeError, RecursionError):
        raise BadInput(
            f"{path}: must contain plain keys and values, found an anchor that contains itself or a key that is not "
            "text"
        ) from None
    if not isinstance(data, dict):
        raise BadInput(f"{path}: must be a mapping of keys to values, found {type(data).__name__}")
    return data


def override(data: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """A copy of `data` with `a.b=value` settings laid over it, values read as YAML. Raises BadInput."""
    result = json.loads(json.dumps(data, default=str))
    for setting in settings:
        dotted, separator, text = setting.partition("=")
        if not separator or not dotted:
            raise BadInput(f"`overrides` {setting}: must be KEY=VALUE, such as recipe.tokens=100000")
        *path, last = dotted.split(".")
        place = result
        for part in path:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise BadInput(f"`overrides` {setting}: '{dotted}': a part of this key is a plain value, which has no keys")
        place[last] = parse_yaml(text, f"`overrides` {setting}")
    return result


def fingerprint(data: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of JSON-ready data, independent of key order."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_json(data: Any) -> str:
    """JSON text with a final newline; NaN and infinities are refused (ValueError)."""
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def to_yaml(data: Any) -> str:
    """YAML text, keys in their order, innermost mappings and lists on one line."""
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=160)


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file whole or not at all: a temporary neighbour, then a rename. Raises OSError that names the file."""
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        os.unlink(temporary)
        raise
