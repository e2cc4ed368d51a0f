"""Files of tokens that somebody else made: .npy arrays of integers, raw .bin files."""

import hashlib
import re
import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from l2m_design.corpus.arrays import FileArrayCorpus, Quantiser
from l2m_design.corpus.base import Corpus
from l2m_design.corpus.options import parse_options
from l2m_design.corpus.padding import Padding, noticed
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.errors import BadInput, first_line
from l2m_design.settings import Values

Dtype = Literal["uint8", "uint16", "uint32", "int32", "int64"]

PIECE = 1 << 22
HEADER = 256  # numbers of 32 bits
SHARDS: dict[int, Dtype] = {20240520: "uint16", 20240801: "uint32"}  # llm.c's magic numbers: GPT-2, Llama 3
_PICKLED = re.compile("pickle|Python objects")


class TokenFileSettings(Values):
    """vocabulary: tokens lie below it. separator: a token that ends a document. pad: one that only fills rows up, where
    it is not noticed, -1 for none. dtype: of a .bin file.
    """

    vocabulary: Annotated[int | None, Field(ge=2, le=2**31)] = None
    separator: Annotated[int | None, Field(ge=0)] = None
    pad: Annotated[int | None, Field(ge=-1)] = None
    dtype: Dtype = "uint16"


class TokenFileCorpus(Corpus):
    """[tokens] or [documents, tokens] of integers, read where they lie."""

    seeks = "near"

    def __init__(self, name: str, path: Path, tokens: NDArray[Any], settings: TokenFileSettings) -> None:
        self.name = name
        self._path = path
        self._rows = tokens[None] if tokens.ndim == 1 else tokens
        if self._rows.ndim != 2:
            raise BadInput(f"{name}: [tokens] or [documents, tokens] is expected, found {tokens.shape}")
        if settings.vocabulary is None:
            raise BadInput(f"{name}: the vocabulary's size is needed, as in {name}:vocabulary=50257")
        self.vocabulary: int = settings.vocabulary
        self._separator = settings.separator
        self._pad = settings.pad

    @cached_property
    def _padding(self) -> Padding | None:
        """What fills rows up, named or noticed."""
        if self._pad == -1 or len(self._rows) < 2:
            return None
        found = noticed(self._rows)
        if self._pad is None:
            return found
        left = bool(np.mean(self._rows[:, 0] == self._pad) > np.mean(self._rows[:, -1] == self._pad))
        return Padding(self._pad, left, False)

    @property
    def notes(self) -> list[str]:
        """What was cut off."""
        padding = self._padding
        if padding is None or not padding.noticed:
            return super().notes
        side = "begin" if padding.left else "end"
        said = (
            f"rows {side} with runs of token {padding.token}, which hardly stands elsewhere: taken for padding and cut "
            f"off (pad={padding.token}; pad=-1 keeps it)"
        )
        return [said, *super().notes]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file and the settings."""
        pad = self._padding.token if self._padding else None
        digest = hashlib.sha256(f"tokens 2 {self.vocabulary} {self._separator} {pad} {self._rows.dtype}".encode())
        with self._path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    def write(self, writer: TokenWriter) -> None:
        """Write row by row, cut behind separators. Raises BadInput naming a token outside the vocabulary."""
        for index, whole in enumerate(self._rows):
            row, number = self._padding.inside(whole) if self._padding else whole, 0
            writer.begin(f"document {index}.0")
            for begin in range(0, len(row), PIECE):
                piece = self._checked(np.asarray(row[begin : begin + PIECE]), index, begin)
                ends = np.nonzero(piece == self._separator)[0] + 1 if self._separator is not None else ()
                first, *others = np.split(piece, ends)
                writer.add(first)
                for rest in others:
                    number += 1
                    writer.begin(f"document {index}.{number}")
                    writer.add(rest)

    def _checked(self, piece: NDArray[Any], index: int, begin: int) -> NDArray[Any]:
        wrong = np.nonzero((piece < 0) | (piece >= self.vocabulary))[0]
        if wrong.size:
            raise BadInput(
                f"{self.name}: document {index}, position {begin + int(wrong[0])}: token {int(piece[wrong[0]])} is "
                f"outside the vocabulary of {self.vocabulary}"
            )
        return piece


def array_file(path: Path, options: str, spec: str) -> Corpus:
    """The corpus of a .npy, .npz or .bin file: integers are tokens, real numbers are quantised. Raises BadInput."""
    if path.suffix == ".bin":
        settings = parse_options(options, TokenFileSettings, spec)
        size, item = path.stat().st_size, np.dtype(settings.dtype).itemsize
        if size % item or not size:
            raise BadInput(f"{path}: {size} bytes are no whole number of {settings.dtype} tokens")
        return _raw(path, settings)
    array = _load(path)
    if array.dtype.kind in "iu":
        return TokenFileCorpus(str(path), path, array, parse_options(options, TokenFileSettings, spec))
    if array.dtype.kind != "f":
        raise BadInput(f"{path}: an array of integers or real numbers is expected, found {array.dtype}")
    return FileArrayCorpus(str(path), path, array, parse_options(options, Quantiser, spec))


def _raw(path: Path, settings: TokenFileSettings) -> Corpus:
    """A .bin file, behind its header where it has one of those that are known."""
    with path.open("rb") as file:
        head = np.frombuffer(file.read(4 * HEADER).ljust(4 * HEADER, b"\0"), dtype="<i4")
    dtype, offset, count = settings.dtype, 0, -1
    if int(head[0]) in SHARDS:
        named, offset, count = SHARDS[int(head[0])], 4 * HEADER, int(head[2])
        dtype, held = named, (path.stat().st_size - offset) // np.dtype(named).itemsize
        if count != held:
            raise BadInput(f"{path}: its header speaks of {count:,} tokens, {held:,} are there")
    return TokenFileCorpus(str(path), path, np.memmap(path, dtype=dtype, mode="r", offset=offset), settings)


def _load(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        names = list(loaded.files)
        if len(names) != 1:
            raise BadInput(f"{path}: one array is expected, found {len(names)}: {', '.join(names[:8])}")
        return loaded[names[0]]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = "object arrays are pickles and are never loaded" if _PICKLED.search(str(error)) else first_line(error)
        raise BadInput(f"{path}: not a NumPy array file: {reason}") from None
