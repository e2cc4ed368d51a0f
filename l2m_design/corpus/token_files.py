"""Files of tokens that somebody else made: .npy arrays of integers, raw .bin files."""

import hashlib
import re
import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from l2m_design.corpus.arrays import FileArrayCorpus, Quantiser
from l2m_design.corpus.base import Corpus
from l2m_design.corpus.options import parse_options
from l2m_design.corpus.padding import IGNORED, WHY, Padding, noticed
from l2m_design.corpus.raw_tokens import Dtype, Spans, raw_tokens
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.errors import BadInput, first_line
from l2m_design.settings import Values

PIECE = 1 << 22
_PICKLED = re.compile("pickle|Python objects")


class TokenFileSettings(Values):
    """vocabulary: tokens lie below it. separator: a token that ends a document, as a run of it does. pad: one that only
    fills rows up, where it is not noticed, -1 for none. dtype: of a .bin file without a header.
    """

    vocabulary: Annotated[int | None, Field(ge=2, le=2**31)] = None
    separator: Annotated[int | None, Field(ge=0)] = None
    pad: Annotated[int | None, Field(ge=IGNORED)] = None
    dtype: Dtype = "uint16"


class TokenFileCorpus(Corpus):
    """[tokens] or [documents, tokens] of integers, read where they lie, or documents of their own lengths.

    A label that is ignored (-100) is no token: documents end before it, unless pad=-1.
    """

    seeks = "near"

    def __init__(self, name: str, path: Path, tokens: NDArray[Any] | Spans, settings: TokenFileSettings) -> None:
        self.name = name
        self._path = path
        self._rows = tokens[None] if isinstance(tokens, np.ndarray) and tokens.ndim == 1 else tokens
        if isinstance(self._rows, np.ndarray) and self._rows.ndim != 2:
            raise BadInput(f"{name}: the shape must be [tokens] or [documents, tokens], found {self._rows.shape}")
        if settings.vocabulary is None:
            raise BadInput(f"{name}: give the vocabulary size, as in {name}:vocabulary=50257")
        self.vocabulary: int = settings.vocabulary
        self._separator = settings.separator
        self._pad = settings.pad

    @cached_property
    def _seen(self) -> Padding | None:
        """What seems to fill rows up, unless the user says what does."""
        return noticed(self._rows) if self._pad is None and isinstance(self._rows, np.ndarray) else None

    @property
    def _padding(self) -> Padding | None:
        """What fills rows up, named or noticed."""
        if self._pad is None:
            return None if self._seen is None or self._seen.why == "doubtful" else self._seen
        return None if self._pad == -1 else Padding(self._pad, True, True, "named", behind=True)

    @cached_property
    def _ignores(self) -> bool:
        """Are there labels that are ignored?"""
        rows = self._rows.tokens[None] if isinstance(self._rows, Spans) else self._rows
        if self._pad == -1 or rows.dtype.kind != "i":
            return False
        return any((row[i : i + PIECE] == IGNORED).any() for row in rows for i in range(0, len(row), PIECE))

    @property
    def notes(self) -> list[str]:
        """What was cut off, and what may have to be."""
        notes, seen = super().notes, self._seen
        if self._ignores and not (seen and seen.token == IGNORED):
            notes.insert(0, f"token {IGNORED} marks ignored labels: removed; documents end before it")
        if seen:
            what = f"{seen.sentence} token {seen.token}, {WHY[seen.why]}"
            does = f"taken for padding and removed (pad={seen.token}; pad=-1 keeps it)"
            if seen.token == IGNORED:
                does = "ignored labels: removed; one inside a row ends the document"
            elif seen.why == "doubtful":
                does = f"kept; if it is padding, give pad={seen.token} (else pad=-1)"
            notes.insert(0, f"{what}: {does}")
        return notes

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file and the settings."""
        pad = self._padding
        kept = (pad.token, pad.front, pad.back, pad.behind) if pad else self._pad
        dtype = self._rows.tokens.dtype if isinstance(self._rows, Spans) else self._rows.dtype
        digest = hashlib.sha256(f"tokens 3 {self.vocabulary} {self._separator} {kept} {dtype}".encode())
        if isinstance(self._rows, Spans):
            digest.update(self._rows.spans.tobytes())
        with self._path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    def write(self, writer: TokenWriter) -> None:
        """Write row by row, cut behind runs of the separator, of which one is kept, and at ignored labels.

        Raises BadInput naming a token outside the vocabulary.
        """
        for index, row in enumerate(self._rows):
            self._write_row(writer, index, self._padding.inside(row) if self._padding else row)

    def _write_row(self, writer: TokenWriter, index: int, row: NDArray[Any]) -> None:
        number, inside = 0, False
        for begin in range(0, len(row), PIECE):
            piece = np.asarray(row[begin : begin + PIECE])
            ignored = (piece == IGNORED) if self._pad != -1 else np.zeros(len(piece), dtype=bool)
            self._check(piece, ignored, index, begin)
            closes = ignored | (piece == self._separator) if self._separator is not None else ignored
            for part in np.split(piece, np.flatnonzero(closes) + 1):
                closed = bool(len(part)) and (part[-1] == self._separator or (part[-1] == IGNORED and self._pad != -1))
                text = part[:-1] if closed else part
                if not len(text) and not inside:
                    continue
                if not inside:
                    writer.begin(f"document {index}.{number}")
                    number, inside = number + 1, True
                writer.add(text)
                if closed:
                    writer.add(part[part == self._separator])
                    inside = False
        if not number:
            writer.begin(f"document {index}.0")

    def _check(self, piece: NDArray[Any], ignored: NDArray[np.bool_], index: int, begin: int) -> None:
        wrong = np.nonzero(((piece < 0) | (piece >= self.vocabulary)) & ~ignored)[0]
        if wrong.size:
            raise BadInput(
                f"{self.name}: document {index}, position {begin + int(wrong[0])}: token {int(piece[wrong[0]])} is "
                f"outside the vocabulary of {self.vocabulary}"
            )


def array_file(path: Path, options: str, spec: str) -> Corpus:
    """The corpus of a .npy, .npz or .bin file: integers are tokens, real numbers are quantised. Raises BadInput."""
    if path.suffix.lower() == ".bin":
        settings = parse_options(options, TokenFileSettings, spec)
        tokens = raw_tokens(path, settings.dtype, "dtype" in settings.model_fields_set)
        return TokenFileCorpus(str(path), path, tokens, settings)
    array = _load(path)
    if array.dtype.kind in "iu":
        return TokenFileCorpus(str(path), path, array, parse_options(options, TokenFileSettings, spec))
    if array.dtype.kind != "f":
        raise BadInput(f"{path}: must be an array of integers or real numbers, found {array.dtype}")
    return FileArrayCorpus(str(path), path, array, parse_options(options, Quantiser, spec))


def _load(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        names = list(loaded.files)
        if len(names) != 1:
            raise BadInput(f"{path}: must contain one array, found {len(names)}: {', '.join(names[:8])}")
        return loaded[names[0]]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = (
            "arrays of objects are pickles, which are never loaded"
            if _PICKLED.search(str(error))
            else first_line(error)
        )
        raise BadInput(f"{path}: not a NumPy array file: {reason}") from None
