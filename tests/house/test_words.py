"""Words: messages and documents use the field's terms, and the library names settings where commands have options."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from l2m_design.cli import app
from tests.fences import PAGES, REPOSITORY

ROOT = REPOSITORY / "l2m_design"
NAMES_OPTIONS = (  # the command line, and what shows commands to its users
    "cli/",
    "report/",
    "search/",
    "library/search.py",
    "calibration/eta.py",
    "export/card.py",
    "information/compression.py",
)
KEYS = ("config.json: drawing",)  # messages that name a key
FILES = sorted(ROOT.rglob("*.py"))
OF_OTHERS = ("--kv-unified", "--swa-full")  # llama.cpp's
HISTORY = REPOSITORY / "docs" / "lab-book.md"

PRIVATE = {  # words of this project's own, and the field's words for them (docs/glossary.md)
    r"drawings?": "architecture",
    r"let go": "evict",
    r"who pays": "state by layer type",
    r"(data|corpus|corpora|texts?) asks?( for)?": "required",
    r"(is|are|was|were|as|not) asked": "required, given",
    r"lessons?|taught": "train",
    r"lent": "shared",
    r"borrowed": "adopted",
    r"thinned|thinning": "bounded cache",
    r"sittings?": "session",
    r"tickets?|bury|buried": "queued trial",
    r"drawn before": "duplicate",
    r"allots?|allotted": "allocate",
    r"goes? on": "continue",
    r"(nats|bits|bytes|elements|tokens) an? (token|element|layer|head|second|byte|step)": "per",
    r"beyond chance": "significant",
    r"side by side in": "without overlap",
    r"an? \w+ is expected|are expected": "must be",
    r"own words|last words|without a word": "message",
}
FORBIDDEN = re.compile(rf"\b({'|'.join(PRIVATE)})\b", flags=re.IGNORECASE)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def texts(path: Path, docstrings: bool) -> Iterator[str]:
    """The docstrings of a file, or its other texts."""
    tree = ast.parse(path.read_text())
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (id(node) in documented) == docstrings:
            yield node.value


@pytest.mark.parametrize("path", [path for path in FILES if not name(path).startswith(NAMES_OPTIONS)], ids=name)
def test_messages_of_the_library_name_settings_and_no_options(path: Path) -> None:
    """Whole commands in backquotes may be shown."""
    for text in texts(path, docstrings=False):
        assert not set(re.findall(r"--[a-z][a-z-]+", re.sub("`[^`]*`", "", text))) - set(OF_OTHERS), text


@pytest.mark.parametrize("path", FILES, ids=name)
def test_messages_use_the_words_of_the_field(path: Path) -> None:
    found = [
        text for text in texts(path, docstrings=False) if " " in text and text not in KEYS and FORBIDDEN.search(text)
    ]
    assert not found, [FORBIDDEN.search(text) for text in found]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_docstrings_use_the_words_of_the_field(path: Path) -> None:
    """Names of fields (`name: meaning.`) may be older."""
    found = [re.sub(r"\b\w+:", "", text) for text in texts(path, docstrings=True)]
    assert not any(map(FORBIDDEN.search, found)), [FORBIDDEN.search(text) for text in found if FORBIDDEN.search(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY], ids=lambda page: page.name)
def test_documents_use_the_words_of_the_field(page: Path) -> None:
    """The glossary names the keys that keep an older word."""
    lines = [re.sub(r"`[^`]*`", "", line) for line in page.read_text().splitlines()]
    found = [line for line in lines if FORBIDDEN.search(line)]
    assert not found, [FORBIDDEN.search(line) for line in found]


COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_is_shown_as_it_is_written(command: str) -> None:
    """Every help is a sentence in words of the field, and rich takes no part of it for markup."""
    from rich.text import Text

    texts = [COMMANDS[command].help, *(option.help for option in COMMANDS[command].params if option.name != "help")]
    for text in texts:
        assert text
        assert text.rstrip().endswith((".", "..."))
        assert Text.from_markup(text).plain == text
        assert not FORBIDDEN.search(text)
