"""Hooks of MkDocs: tables of commands and settings, made from the code, and files of the repository that pages link.

A page asks for generated text by a line `<!-- generated: NAME -->`. A link to a file outside docs/ goes to a page that
shows the file; a report's own HTML page is copied.
"""

import json
import os
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)")
MARK = re.compile(r"^<!-- generated: (\w+) -->$", flags=re.MULTILINE)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file of the repository that a page links, and what those pages link in turn."""
    todo = [(Path(file.abs_src_path or ""), f"docs/{file.src_uri}") for file in files.documentation_pages()]
    seen = set[str]()
    while todo:
        path, origin = todo.pop()
        for target in _outside(path.read_text(), origin):
            if target in seen:
                continue
            seen.add(target)
            files.append(_file(REPOSITORY / target, target, config))
            if target.endswith(".md"):
                todo.append((REPOSITORY / target, target))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated, and point links at the copies of the repository's files."""
    uri = page.file.src_uri
    origin = uri.removeprefix("files/") if uri.startswith("files/") else f"docs/{uri}"

    def pointed(link: re.Match[str]) -> str:
        target = _resolved(origin, link[2])
        place = target.removeprefix("docs/") if target.startswith("docs/") else _place(target)
        return link[1] + os.path.relpath(place, Path(uri).parent)

    if not uri.endswith((".py.md", ".yaml.md", ".json.md")):
        markdown = LINK.sub(pointed, markdown)
    return MARK.sub(lambda mark: "\n".join(GENERATED[mark[1]]()), markdown)


def _resolved(origin: str, target: str) -> str:
    return os.path.normpath(Path(origin).parent / target)


def _outside(text: str, origin: str) -> Iterator[str]:
    for link in LINK.finditer(text):
        target = _resolved(origin, link[2])
        if not target.startswith("docs/"):
            yield target


def _place(target: str) -> str:
    return f"files/{target}" if target.endswith((".md", ".html", ".png")) else f"files/{target}.md"


def _file(path: Path, target: str, config: MkDocsConfig) -> File:
    """The file as it is, or a page with its text."""
    if not path.is_file():
        raise PluginError(f"a page links {target}, which is no file of the repository")
    if _place(target) == f"files/{target}":
        return File.generated(config, _place(target), abs_src_path=str(path))
    text = f"# {target}\n\n~~~~~~ {LANGUAGES.get(path.suffix, 'text')}\n{path.read_text().rstrip()}\n~~~~~~\n"
    return File.generated(config, _place(target), content=text)


# --- the command line ------------------------------------------------------------------------------------------------


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


# --- settings --------------------------------------------------------------------------------------------------------


def study() -> Iterator[str]:
    """The keys of a study, section by section."""
    from l2m_design.information import MeasurementSettings
    from l2m_design.search import settings
    from l2m_design.terms import Terms
    from l2m_design.training.recipe import Recipe

    sections = {
        "": settings.StudySettings,
        "demand": settings.DemandSettings,
        "demand.measure": MeasurementSettings,
        "condition": Terms,
        "recipe": Recipe,
        "search": settings.SearchSettings,
        "recall": settings.RecallSettings,
        "finalists": settings.FinalistSettings,
        "choice": settings.ChoiceSettings,
    }
    for name, section in sections.items():
        yield from _section(f"`{name}`" if name else "The study", section)


def space() -> Iterator[str]:
    """The keys of a search space."""
    from l2m_design.search.space.space import Space

    yield from _section("The space", Space)


def mixers() -> Iterator[str]:
    """The keys of every mixer type."""
    from l2m_design.architecture import mixers

    for name in mixers.__all__:
        mixer = getattr(mixers, name)
        if isinstance(mixer, type) and "kind" in getattr(mixer, "model_fields", {}) and name != "MixerBase":
            yield from _section(f"`kind: {mixer.model_fields['kind'].default}`", mixer)


def _section(title: str, settings: Any) -> Iterator[str]:
    """A heading, what the class says of itself, and a row for each key, with what the class says of the key."""
    rules = settings.model_json_schema()
    intro, meanings = described(settings.__doc__ or "", list(settings.model_fields))
    yield from (f"## {title}", "", intro, "", "| key | values | default | meaning |", "|---|---|---|---|")
    for name, rule in rules["properties"].items():
        required = name in rules.get("required", ())
        shown = "required" if required else f"`{json.dumps(rule['default'])}`" if "default" in rule else ""
        yield _row(f"`{name}`", _allowed(rule), shown if len(shown) < 40 else "see its section", meanings.get(name, ""))
    yield ""


def described(docstring: str, names: list[str]) -> tuple[str, dict[str, str]]:
    """What a docstring says of all, and of each field it describes as `name: text` or `one, two: text`."""
    text = " ".join(docstring.split())
    name = "|".join(map(re.escape, names))
    parts = re.split(rf"(?:^|(?<=[.;)]) )((?:{name})(?:, (?:{name}))*): ", text)
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
        return f"see `{rule['$ref'].rpartition('/')[2]}`"
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


# --- study.json ------------------------------------------------------------------------------------------------------


def study_json() -> Iterator[str]:
    """The keys of study.json, from its shipped schema."""
    schema = json.loads((REPOSITORY / "reports" / "study.schema.json").read_text())
    yield from _keys("study.json", schema)
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


GENERATED = {"commands": commands, "study": study, "space": space, "mixers": mixers, "study_json": study_json}
