"""Text as bytes: the standard library's source, files, folders and globs; a document is a file or a record."""

import codecs
import glob
import hashlib
import json
import os
import sysconfig
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.records import jsonl_texts
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.errors import BadInput

PIECE = 1 << 20
SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


class TextCorpus(Corpus):
    """Files as documents of bytes (vocabulary 256); a .jsonl file holds a document in each line's `text`.

    files: (path, name) pairs; the name decides the split and takes part in the fingerprint. packages: files of
    one top-level folder go into one split.
    """

    vocabulary = 256

    def __init__(self, name: str, files: list[tuple[Path, str]], skipped: str = "", packages: bool = False) -> None:
        self.name = name
        self._files = files
        self._skipped = skipped
        self._packages = packages

    def family(self, name: str) -> str:
        """In a library of packages, the package: its modules can be near copies of each other."""
        return name.split("/")[0] if self._packages else name

    @property
    def notes(self) -> list[str]:
        """What was skipped or assumed."""
        return ([self._skipped] if self._skipped else []) + super().notes

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every file's name and content."""
        digest = hashlib.sha256(b"bytes 1")
        for path, name in self._files:
            try:
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise BadInput(f"{path}: {error.strerror or error}") from None
            digest.update(json.dumps([name, content]).encode())
        return digest.hexdigest()[:16]

    def write(self, writer: TokenWriter) -> None:
        """Write the files in the order of their names. Raises BadInput on text that is not UTF-8."""
        for path, name in self._files:
            if path.suffix == ".jsonl":
                for line, text in jsonl_texts(path):
                    writer.begin(f"{name}:{line}")
                    writer.add(np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8))
            else:
                writer.begin(name)
                for piece in utf8_pieces(path):
                    writer.add(np.frombuffer(piece, dtype=np.uint8))


def utf8_pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes in pieces; raises BadInput naming the byte offset where it is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    with path.open("rb") as file:
        while True:
            piece = file.read(PIECE)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                raise BadInput(f"{path}: not UTF-8 text at byte {offset - pending + error.start}") from None
            if not piece:
                return
            offset += len(piece)
            yield piece


def is_binary(path: Path) -> bool:
    """True when the file's first 8 KiB hold a zero byte."""
    with path.open("rb") as file:
        return b"\0" in file.read(8192)


def standard_library() -> TextCorpus:
    """The running Python's own library source, without its tests: real text that is always there."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [
        path
        for path in sorted(root.rglob("*.py"))
        if not SKIPPED_FOLDERS.intersection(path.relative_to(root).parts[:-1])
    ]
    files = [(path, path.relative_to(root).as_posix()) for path in paths if _is_utf8(path)]
    if not files:
        raise BadInput(f"stdlib: no Python source under {root}")
    other = len(paths) - len(files)
    return TextCorpus("stdlib", files, f"{other} files that are not UTF-8 skipped" if other else "", packages=True)


def text_files(spec: str) -> TextCorpus:
    """A file, every text file of a folder, or a glob's matches. Raises BadInput when nothing is there."""
    path = Path(spec).expanduser()
    try:
        if path.is_file():
            if is_binary(path):
                raise BadInput(f"{spec}: a binary file (it holds zero bytes); text is expected")
            return TextCorpus(spec, [(path, path.name)])
        files, root = _matches(spec, path)
        text = [p for p in files if not is_binary(p)]
    except OSError as error:
        raise BadInput(f"{spec}: {error.filename}: {error.strerror}") from None
    if not text:
        raise BadInput(f"{spec}: no text file there ({len(files)} binary files)")
    binary = len(files) - len(text)
    names = [(p, p.relative_to(root).as_posix()) for p in text]
    return TextCorpus(spec, names, f"{binary} binary files skipped" if binary else "")


def _matches(spec: str, path: Path) -> tuple[list[Path], Path]:
    """Files of a folder (hidden ones left out) or a glob, and the folder that their names start from."""
    if path.is_dir():
        return [p for p in sorted(path.rglob("*")) if _visible(p, path) and p.is_file()], path
    if not glob.has_magic(spec):
        raise BadInput(
            f"{spec}: no such corpus; known: stdlib, santa-fe:beta=0.7, a text or .jsonl file, a folder, a glob"
        )
    found = [Path(p) for p in sorted(glob.glob(str(path), recursive=True)) if Path(p).is_file()]
    if not found:
        raise BadInput(f"{spec}: the glob matches no file")
    return found, Path(os.path.commonpath([p.parent for p in found]))


def _visible(path: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(root).parts)


def _is_utf8(path: Path) -> bool:
    try:
        return all(True for _ in utf8_pieces(path))
    except BadInput:
        return False
