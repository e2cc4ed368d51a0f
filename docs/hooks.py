"""Hooks of MkDocs: tables of commands and settings, made from the code, and files of the repository that pages link.

A page asks for generated text by a line `<!-- generated: NAME -->`. A link to a file outside docs/ goes to a page that
shows the file; a report's own HTML page is copied.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from generated import GENERATED, REPOSITORY
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

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
