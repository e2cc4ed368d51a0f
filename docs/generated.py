"""Tables of commands, settings and JSON keys, made from the code: lines of Markdown for the pages that ask for them."""

import json
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

REPOSITORY = Path(__file__).parents[1]


def commands() -> Iterator[str]:
    """Every command: what it does, its usage, its options."""
    import typer

    from l2m_design.cli import app

    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        first, _, rest = (command.help or "").partition("\n\n")
        arguments = [option for option in command.params if option.param_type_name == "argument"]
        usage = " ".join(_argument(argument) for argument in arguments)
        yield from (
            f"## l2m {name}",
            "",
            first,
            "",
            rest,
            "",
            "```text",
            f"l2m {name} {usage} [OPTIONS]".replace("  ", " "),
            "```",
            "",
        )
        yield from ("| argument or option | value | default | meaning |", "|---|---|---|---|")
        for option in command.params:
            yield _row(
                ", ".join(f"`{opt}`" for opt in option.opts), _value(option), _default(option), option.help or ""
            )
        yield ""


def _argument(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _value(option: Any) -> str:
    if getattr(option, "is_flag", False):
        return ""
    annotation = option.type_descriptor.annotation
    word = option.metavar or _plain(annotation)
    return f"{word}, repeatable" if option.multiple and "repeatable" not in word else word


def _default(option: Any) -> str:
    if getattr(option, "is_flag", False) or option.required:
        return "required" if option.required else ""
    if isinstance(option.show_default, str):
        return option.show_default
    return f"`{option.default}`" if option.default not in (None, [], ()) else ""


def _plain(annotation: Any) -> str:
    while get_origin(annotation) in (list, Annotated, Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return {str: "text", int: "integer", float: "number", Path: "path"}.get(annotation, "text")


def study() -> Iterator[str]:
    """The keys of a study, section by section."""
    from l2m_design.search.settings import StudySettings

    yield from _study(StudySettings)


def adoption() -> Iterator[str]:
    """The keys of a study that starts from a model, section by section."""
    from l2m_design.search.adoption.settings import AdoptionSettings

    yield from _study(AdoptionSettings)


def _study(settings: Any) -> Iterator[str]:
    from l2m_design.information import MeasurementSettings

    yield from _section("The study", settings)
    for name, field in settings.model_fields.items():
        if section := _settings_of(field.annotation):
            yield from _section(name, section)
            if name == "demand":
                yield from _section("demand.measure", MeasurementSettings)


def _settings_of(annotation: Any) -> Any:
    """The class of settings that a field takes, or a list of them; none if it takes a plain value."""
    parts = [annotation, *get_args(annotation)]
    parts += [part for each in parts for part in get_args(each)]
    return next((part for part in parts if isinstance(part, type) and hasattr(part, "model_fields")), None)


def space() -> Iterator[str]:
    """The keys of a search space."""
    from l2m_design.search.space.space import Space

    yield from _section("The space", Space)


def mixers() -> Iterator[str]:
    """The keys of every mixer type."""
    from l2m_design.architecture import MixerSpec

    union, _ = get_args(MixerSpec)
    for mixer in get_args(union):
        yield from _section(f"kind: {mixer.model_fields['kind'].default}", mixer)


def _section(title: str, settings: Any) -> Iterator[str]:
    """A heading, what the class says of itself, and a row for each key, with what the class says of the key."""
    rules = settings.model_json_schema()
    intro, meanings = explained(settings)
    yield from (f"## {title}", "", intro, "", "| key | values | default | meaning |", "|---|---|---|---|")
    for name, rule in rules["properties"].items():
        section = _settings_of(settings.model_fields[name].annotation)
        default = "required" if name in rules.get("required", ()) else _shown(rule)
        allowed = (
            f"[keys](#{'demandmeasure' if name == 'measure' else name})"
            if section and name not in ("mlp",)
            else _allowed(rule)
        )
        yield _row(f"`{name}`", allowed, default if len(default) < 40 else "see its keys", meanings.get(name, ""))
    yield ""


def _shown(rule: dict[str, Any]) -> str:
    """The default as YAML has it."""
    return f"`{json.dumps(rule['default'], ensure_ascii=False)}`" if rule.get("default") not in (None, "", {}) else ""


def explained(settings: Any) -> tuple[str, dict[str, str]]:
    """What a class of settings says of itself, and what it or a class before it says of each field."""
    meanings: dict[str, str] = {}
    for each in reversed(settings.__mro__):
        if hasattr(each, "model_fields"):
            meanings |= described(each.__doc__ or "", list(settings.model_fields))[1]
    return described(settings.__doc__ or "", list(settings.model_fields))[0], meanings


def described(docstring: str, names: list[str]) -> tuple[str, dict[str, str]]:
    """What a docstring says of all, and of each field it describes as `name: text` or `one, two: text`."""
    text = " ".join(docstring.partition("Examples:")[0].split())
    name = "|".join(map(re.escape, names))
    parts = re.split(rf"(?:^|(?<=[.;)?]) )((?:{name})(?:, (?:{name}))*): ", text)
    meanings = {
        field: said.strip().rstrip(";")
        for keys, said in zip(parts[1::2], parts[2::2], strict=True)
        for field in keys.split(", ")
    }
    return parts[0], meanings


def _allowed(rule: dict[str, Any]) -> str:
    """What a value may be, in words, from its JSON schema."""
    if "const" in rule:
        return f"`{rule['const']}`"
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    if "anyOf" in rule:
        return " or ".join(dict.fromkeys(_allowed(part) for part in rule["anyOf"]))
    if "$ref" in rule:
        name = rule["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if rule.get("type") == "array":
        return f"list of {_allowed(rule['items'])}" if rule.get("items") else "list"
    word = {"string": "text", "boolean": "true, false", "object": "mapping"}.get(
        rule.get("type", ""), rule.get("type", "any")
    )
    bounds = [
        f"{sign} {rule[key]:,}"
        for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
        if key in rule
    ]
    return " ".join([word, ", ".join(bounds)]).strip()


def study_json() -> Iterator[str]:
    """The keys of study.json, from its shipped schema."""
    schema = json.loads((REPOSITORY / "reports" / "study.schema.json").read_text())
    yield from _keys("The whole", schema)
    for name, part in schema["$defs"].items():
        yield from _keys(name, part)


def _keys(title: str, schema: dict[str, Any]) -> Iterator[str]:
    names = list(schema.get("properties", {}))
    intro, meanings = described(schema.get("description", ""), names)
    yield from (f"### {title}", "", intro, "", "| key | values | meaning |", "|---|---|---|")
    for name, rule in schema.get("properties", {}).items():
        yield _row(f"`{name}`", _allowed(rule), meanings.get(name, rule.get("description", "")))
    yield ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


GENERATED = {
    "commands": commands,
    "study": study,
    "adoption": adoption,
    "space": space,
    "mixers": mixers,
    "study_json": study_json,
}
