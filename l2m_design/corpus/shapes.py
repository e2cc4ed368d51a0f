"""What a file holds, by its content: prose, or records in one of the shapes that people bring, compressed or not."""

import bz2
import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal, cast

import pyarrow

from l2m_design.errors import first_line

Shape = Literal["text", "jsonl", "json", "csv", "tsv", "parquet"]

HEAD = 1 << 16
BOM = b"\xef\xbb\xbf"
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
        raise OSError(None, f"cannot be unpacked: {first_line(error)}", str(path)) from None


def named_shape(path: Path) -> Shape | None:
    """What a file's ending says, upper case or packed as it may be; none where it says nothing of records."""
    name = path.name.lower()
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return NAMED.get(Path(name).suffix)


def seen_shape(head: bytes, field: str) -> Shape | None:
    """What a file's beginning looks like; none where it looks like no records.

    JSON lines: two lines at least, each an object. A table: a header with the field among two cells
    or more, and a second row of as many.
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.lstrip()
    if text.startswith(b"{"):
        lines = [line for line in text.splitlines() if line.strip()]
        whole = lines[:-1] or lines if len(head) == HEAD else lines
        several = len(lines) > 1 or len(head) == HEAD
        return "jsonl" if several and all(map(_is_object, whole[:3])) else None
    if text.startswith(b"["):
        return "json" if text[1:].lstrip().startswith(b"{") else None
    for delimiter, shape in ((",", "csv"), ("\t", "tsv")):
        rows = list(csv.reader(io.StringIO(text.decode("utf-8", "replace")), delimiter=delimiter))[:2]
        if len(rows) == 2 and len(rows[0]) == len(rows[1]) > 1 and field in rows[0]:
            return cast(Shape, shape)
    return None


def _is_object(line: bytes) -> bool:
    if len(line) >= HEAD - 1:  # longer than what was read: the beginning must do
        return line.startswith(b'{"')
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
