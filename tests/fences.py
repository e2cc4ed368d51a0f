"""Code blocks of the documents: tests run `bash` and `python` blocks, and parse `sh`, `console` and `py` blocks."""

import re
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
FENCE = re.compile(r"^([ ]*)(```+|~~~+) *(\w*)[^\n]*\n(.*?)^\1\2 *$", flags=re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A code block: its page, its language and its text, without the indentation of its fence."""

    page: Path
    language: str
    text: str

    @property
    def place(self) -> str:
        """For the name of a test."""
        return str(self.page.relative_to(REPOSITORY))


def blocks(*languages: str) -> list[Block]:
    """All blocks of these languages, page by page."""
    found = []
    for page in PAGES:
        for indent, _, language, text in FENCE.findall(page.read_text()):
            if language in languages:
                lines = (line.removeprefix(indent) for line in text.splitlines())
                found.append(Block(page, language, "\n".join(lines) + "\n"))
    return found


def commands(*languages: str) -> dict[str, str]:
    """Every command of the blocks, without comments, with the first page that has it; `console`: lines behind `$ `."""
    found = dict[str, str]()
    for block in blocks(*languages):
        for line in block.text.replace("\\\n", " ").splitlines():
            if block.language == "console" and not line.startswith("$ "):
                continue
            command = " ".join(line.removeprefix("$ ").split("  #")[0].split())
            if command and not command.startswith("#"):
                found.setdefault(command, block.place)
    return found
