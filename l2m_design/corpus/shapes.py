"""What a file holds, by its content: prose, or records in one of the shapes that people bring, compressed or not."""

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal, cast

import pyarrow

from l2m_design.errors import first_line

Shape = Literal["text", "jsonl", "json", "csv", "tsv", "parquet"]

HEAD = 1 << 16
MARGIN = 1 << 10
BOM = b"\xef\xbb\xbf"
DELIMITERS = (",", "\t", ";", "|")
COMMENTS = re.compile(rb"\A\s*(?:(?:#|//)[^\n]*\n\s*)+(?=[\[{])")  # before JSON
NAMED: dict[str, Shape] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonlines": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
PACKED: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": lambda path: cast(IO[bytes], gzip.GzipFile(path)),
    b"BZh": lambda path: cast(IO[bytes], bz2.BZ2File(path)),
    b"\xfd7zXZ": lambda path: cast(IO[bytes], lzma.LZMAFile(path)),  # noqa: SIM115 - the caller closes it
    b"\x28\xb5\x2f\xfd": lambda path: io.BufferedReader(pyarrow.CompressedInputStream(str(path), "zstd")),
}
UNPACKING = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, pyarrow.ArrowException)
ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".zstd")


def opened(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked where its first bytes say gzip, bzip2, xz or zstd."""
    with path.open("rb") as file:
        first = file.read(6)
    unpack = next((unpack for magic, unpack in PACKED.items() if first.startswith(magic)), None)
    return unpack(path) if unpack else path.open("rb")


def head_of(path: Path) -> bytes:
    """The first bytes of a file, unpacked, without a byte order mark. Raises OSError."""
    try:
        with opened(path) as file:
            return file.read(HEAD).removeprefix(BOM)
    except UNPACKING as error:
        raise OSError(None, f"cannot be decompressed: {first_line(error)}", str(path)) from None


def named_shape(path: Path) -> Shape | None:
    """What a file's ending says, upper case or packed as it may be; none where it says nothing of records."""
    name = path.name.lower()
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return NAMED.get(Path(name).suffix)


def seen_shape(head: bytes, field: str) -> Shape | None:
    """What a file's beginning looks like; none where it looks like no records.

    JSON lines: two lines at least, each an object. JSON: an array of objects or strings, objects one after another, or
    one that has the field, or an array of objects that have it. A table: a header with the field among two cells or
    more, and a second row of as many.
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    text, cut = COMMENTS.sub(b"", head, count=1).lstrip(), len(head) >= HEAD - len(BOM)
    if text.startswith(b"{"):
        return "jsonl" if _are_lines(text, cut) else "json" if _is_json(text, cut, field) else None
    if text.startswith(b"["):
        return "json" if _is_array(text, cut) else None
    table = head.decode("utf-8", "replace").lstrip("\r\n")
    for delimiter in DELIMITERS:
        try:
            rows = list(itertools.islice(csv.reader(io.StringIO(table, newline=""), delimiter=delimiter), 2))
        except csv.Error:
            continue
        if len(rows) == 2 and len(rows[0]) == len(rows[1]) > 1 and field in rows[0]:
            return "tsv" if delimiter == "\t" else "csv"
    return None


def begins_lines(head: bytes) -> bool:
    """True unless a file that is named JSON lines begins with an array, or with an object over several lines."""
    text = COMMENTS.sub(b"", head, count=1).lstrip()
    return not text.startswith(b"[") and _is_object(text.split(b"\n", 1)[0])


def delimiter_of(header: str, usual: str, field: str) -> str:
    """What separates the cells of a table, by its first line: what sets the field apart, else what makes cells."""

    def cells(delimiter: str) -> list[str]:
        return next(csv.reader([header], delimiter=delimiter), [])

    def sets_apart(delimiter: str) -> tuple[bool, bool, int]:
        found = cells(delimiter)
        return field in found, delimiter == usual and len(found) > 1, len(found)

    return max((usual, *DELIMITERS), key=sets_apart)


def _are_lines(text: bytes, cut: bool) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    whole = lines[:-1] if cut else lines
    return len(lines) > 1 and all(map(_is_object, whole[:3]))


def _is_object(line: bytes) -> bool:
    if len(line) >= HEAD - MARGIN:  # longer than what was read: the beginning must do
        return line.startswith(b'{"')
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_array(text: bytes, cut: bool) -> bool:
    """Whether it begins with an object, or with a string and is JSON as far as it was read."""
    rest = text[1:].lstrip()
    if rest.startswith(b"{") or not rest.startswith(b'"'):
        return rest.startswith(b"{")
    try:
        json.loads(text.decode("utf-8", "ignore"))
    except (ValueError, RecursionError):
        return cut
    return True


def _is_json(text: bytes, cut: bool, field: str) -> bool:
    """Whether objects stand one after another, or one has the field, or an array of objects that have it.

    Of one that is longer than what was read: whether the field holds a string somewhere, or comes first with an array.
    """
    content, name = text.decode("utf-8", "ignore"), re.escape(json.dumps(field.split(".")[-1]))
    try:
        first, end = json.JSONDecoder().raw_decode(content)
    except (ValueError, RecursionError):
        return cut and re.search(rf'{name}\s*:\s*"|\A\{{\s*{name}\s*:\s*\[', content) is not None
    if content[end:].strip():
        return content[end:].lstrip().startswith("{")
    top = field.split(".")[0]
    arrays = [each for each in first.values() if isinstance(each, list) and each]
    return bool({field, top} & first.keys()) or any(
        isinstance(e[0], dict) and {field, top} & e[0].keys() for e in arrays
    )
