"""Text: the standard library's source, files and records; a document is a file or a record."""

import codecs
import hashlib
import json
import os
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from l2m_design.corpus.base import SHARES, Corpus
from l2m_design.corpus.copies import Copies
from l2m_design.corpus.records import FIELD, texts_of
from l2m_design.corpus.shapes import UNPACKING, Shape, begins_lines, head_of, named_shape, opened, seen_shape
from l2m_design.corpus.tokenizers import Bytes, Tokenizer, open_tokenizer, save_tokenizer, tokenizer_files
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.errors import BadInput, first_line
from l2m_design.settings import Values

PIECE = 1 << 20
PACKAGES = (0.6, 0.2, 0.2)  # some 200 packages are few: to tell models apart, more of them are held out
SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


class TextSettings(Values):
    """field: of records, with dots for one inside another. format: what the files are, where their content does not
    tell. tokenizer: bytes, bpe:SIZE, or what transformers can load.
    """

    field: str = FIELD
    format: Shape | None = None
    tokenizer: str | None = None


@dataclass(frozen=True)
class Files:
    """What text is read from.

    files: (path, name) pairs; the name decides the split and takes part in the fingerprint. shape: of all of them;
    field: of records. packages: files of one top-level folder go into one split. shares: of the splits.
    """

    files: list[tuple[Path, str]]
    shape: Shape = "text"
    field: str = FIELD
    packages: bool = False
    shares: tuple[float, float, float] = SHARES


class TextCorpus(Corpus):
    """Files as documents of text; where files hold records, each record is a document.

    Long files are tokenised in pieces that end with a line, or with a space.
    """

    seeks = "near"

    def __init__(
        self,
        name: str,
        source: Files,
        tokenizer: Tokenizer | None = None,
        notes: list[str] | None = None,
    ) -> None:
        self.name = name
        self.tokenizer = tokenizer or Bytes()
        self.vocabulary = self.tokenizer.vocabulary
        self.spaces = tuple(b" \t\n\r\f\v") if isinstance(self.tokenizer, Bytes) else ()
        self._source, self._notes = source, notes or []
        self.tells_of_empty = not source.packages
        self.shares = source.shares

    @property
    def as_bytes(self) -> "TextCorpus":
        """The same documents as bytes."""
        return TextCorpus(self.name, self._source, Bytes(), self._notes)

    @cached_property
    def bytes_per_token(self) -> float:
        """1 for bytes; else counted over all documents."""
        if isinstance(self.tokenizer, Bytes):
            return 1.0
        return self.as_bytes.all_documents.size / self.all_documents.size

    def family(self, name: str) -> str:
        """In a library of packages, the package: its modules can be near copies of each other."""
        return name.split("/")[0] if self._source.packages else name

    def _find_copies(self) -> Copies:
        """As among the bytes, whatever the tokenizer: splits are the same in all tokens."""
        if isinstance(self.tokenizer, Bytes):
            return super()._find_copies()
        read = self.as_bytes
        place = {name: index for index, name in enumerate(read._stored[1])}
        return read.copies.chosen(np.array([place[name] for name in self._stored[1]]))

    @property
    def notes(self) -> list[str]:
        """What was skipped or assumed."""
        return self._notes + super().notes

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every file's name and content, the field and the tokenizer."""
        splits = "" if self.shares == SHARES else f" {self.shares}"
        version = 4 if self._source.shape in ("csv", "tsv") else 3
        digest = hashlib.sha256(
            f"text {version} {self._source.shape} {self._source.field} {self.tokenizer.fingerprint}{splits}".encode()
        )
        for path, name in self._source.files:
            try:
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise BadInput(f"{path}: {error.strerror or error}") from None
            digest.update(json.dumps([name, content]).encode())
        return digest.hexdigest()[:16]

    def write(self, writer: TokenWriter) -> None:
        """Write the files in the order of their names. Raises BadInput on text that is not UTF-8."""
        for path, name in self._source.files:
            try:
                self._write(writer, path, name)
            except UNPACKING as error:
                raise BadInput(f"{path}: cannot be decompressed: {first_line(error)}") from None

    def _write(self, writer: TokenWriter, path: Path, name: str) -> None:
        if self._source.shape != "text":
            for number, text in texts_of(path, self._source.shape, self._source.field):
                writer.begin(f"{name}:{number}")
                for piece in in_pieces([text]):
                    writer.add(self.tokenizer.encode(piece))
        elif isinstance(self.tokenizer, Bytes):
            writer.begin(name)
            for data in utf8_pieces(path):
                writer.add(np.frombuffer(data, dtype=np.uint8))
        else:
            writer.begin(name)
            for piece in in_pieces(_decoded(path)):
                writer.add(self.tokenizer.encode(piece))


def keep_tokenizer(corpus: Corpus, folder: Path) -> list[Path]:
    """Write the tokenizer of a text corpus into a folder, in place of one that is there.

    Answers the files: none for other corpora, whose tokens are no text.
    """
    for path in tokenizer_files(folder):
        path.unlink()
    if isinstance(corpus, TextCorpus):
        save_tokenizer(corpus.tokenizer, folder)
    return tokenizer_files(folder)


def in_pieces(texts: Iterable[str], size: int = PIECE) -> Iterator[str]:
    """Text in pieces of about `size` characters that end with a line where there is one, else before a space."""
    rest = ""
    for text in texts:
        rest += text
        while len(rest) > size:
            cut = rest.rfind("\n", size // 2, size) + 1 or max(rest.rfind(" ", size // 2, size), 0) or size
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    yield from (decoder.decode(piece) for piece in utf8_pieces(path))


def utf8_pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes in pieces; raises BadInput naming the byte offset where it is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    with opened(path) as file:
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


def standard_library(tokenizer: str | None, trust_remote_code: bool = False) -> TextCorpus:
    """The running Python's own library source, without its tests: real text that is always there."""
    root = Path(sysconfig.get_path("stdlib"))
    paths: list[Path] = []
    for folder, below, names in os.walk(root):
        below[:] = set(below) - SKIPPED_FOLDERS  # never entered: site-packages can hold more than the library itself
        paths += [Path(folder, name) for name in names if name.endswith(".py")]
    paths.sort()
    files = [(path, path.relative_to(root).as_posix()) for path in paths if _is_utf8(path)]
    if not files:
        raise BadInput(f"stdlib: no Python source under {root}")
    other = len(paths) - len(files)
    notes = [f"{other} files that are not UTF-8 skipped"] if other else []
    return _tokenised(
        tokenizer,
        trust_remote_code,
        lambda read: TextCorpus("stdlib", Files(files, packages=True, shares=PACKAGES), read, notes),
    )


def _tokenised(tokenizer: str | None, trust_remote_code: bool, corpus: Callable[[Tokenizer], TextCorpus]) -> TextCorpus:
    return corpus(open_tokenizer(tokenizer, trust_remote_code, corpus))


def text_files(
    spec: str,
    files: list[Path],
    root: Path,
    settings: TextSettings,
    notes: list[str],
    trust_remote_code: bool = False,
) -> TextCorpus:
    """The files of text, or of records, among `files`, named from `root`. Raises BadInput on both, or none."""
    try:
        found = {path: _shape_of(path, settings, spec, len(files) > 1) for path in files}
    except OSError as error:
        raise BadInput(f"{spec}: {error.filename}: {error.strerror}") from None
    kept = _with_settings_as_text({path: shape for path, shape in found.items() if shape is not None}, settings.field)
    binary = len(files) - len(kept)
    if not kept:
        what = "a binary file (it contains zero bytes), not text" if len(files) == 1 else f"{binary} binary files"
        raise BadInput(f"{spec}: found no text file: {what}")
    shape, *others = sorted(set(kept.values()))
    if others:
        counts = Counter(kept.values())
        listed = ", ".join(f"{counts[each]} of {each}" for each in (shape, *others))
        raise BadInput(
            f"{spec}: files of several kinds ({listed}); name one kind, such as the glob 'FOLDER/*.jsonl', "
            "or read all as plain text with format=text"
        )
    names = [(path, path.relative_to(root).as_posix()) for path in kept]
    skipped = [f"{binary} binary files skipped"] if binary else []
    source = Files(names, shape, settings.field)
    return _tokenised(
        settings.tokenizer, trust_remote_code, lambda read: TextCorpus(spec, source, read, skipped + notes)
    )


def _with_settings_as_text(found: dict[Path, Shape], field: str) -> dict[Path, Shape]:
    """Among text, .json files that hold no records (a package.json among code) are text too."""
    named = [path for path, shape in found.items() if shape == "json"]
    if set(found.values()) != {"json", "text"} or any(seen_shape(head_of(path), field) for path in named):
        return found
    return dict.fromkeys(found, "text")


def _shape_of(path: Path, settings: TextSettings, spec: str, several: bool) -> Shape | None:
    """What a file holds; none where it is binary, which is read as prose only where it is named alone.

    Raises BadInput where it looks like records, but is not named so.
    """
    head = head_of(path)
    binary = b"\0" in head[:8192]
    if settings.format:
        return None if settings.format == "text" and binary and several else settings.format
    if binary:
        return "parquet" if head.startswith(b"PAR1") else None
    named, seen = named_shape(path), seen_shape(head, settings.field)
    if named in ("csv", "tsv", "parquet"):
        return named
    if named == "jsonl":
        return "json" if seen == "json" and not begins_lines(head) else named
    if named == "json":
        return "jsonl" if seen == "jsonl" and b"\n" in head.strip() else named
    if seen and named is None:
        raise BadInput(
            f"{spec}: {path.name} looks like a file of records ({seen}); say how to read it: '{spec}:format={seen}' or "
            f"'{spec}:format=text'"
        )
    return seen or "text"


def _is_utf8(path: Path) -> bool:
    try:
        return all(True for _ in utf8_pieces(path))
    except BadInput:
        return False
