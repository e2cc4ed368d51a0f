"""Arrays of measurements: simulations, audio features. Real values to measure, quantised tokens to search with."""

import hashlib
from abc import abstractmethod
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from l2m_design.corpus.base import Corpus, Documents
from l2m_design.corpus.padding import WHY, Padding, noticed
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.errors import BadInput
from l2m_design.estimates import Floats
from l2m_design.settings import Values

PIECE = 1 << 20
MU = 255.0


class Quantiser(Values):
    """Real values -> tokens 0 .. levels-1. mulaw: fine steps near the mean (ITU-T G.711, mu = 255); or uniform."""

    quantise: Literal["mulaw", "uniform"] = "mulaw"
    levels: Annotated[int, Field(ge=2, le=65536)] = 256

    def tokens(self, values: Floats, middle: float, reach: float) -> NDArray[np.int64]:
        """Tokens of values [any shape] that lie within middle ± reach."""
        x = np.clip((values - middle) / (reach or 1.0), -1.0, 1.0)
        if self.quantise == "mulaw":
            x = np.sign(x) * np.log1p(MU * np.abs(x)) / np.log1p(MU)
        return np.minimum(((x + 1) / 2 * self.levels).astype(np.int64), self.levels - 1)


class ArrayCorpus(Corpus):
    """Documents of real values; channels of one instant stand side by side, so windows start at multiples of them.

    recorded: measured somewhere, so that recordings may have gains and baselines of their own.
    """

    channels: int = 1
    recorded: bool = False
    quantiser: Quantiser

    @property
    @abstractmethod
    def values(self) -> Documents:
        """Documents of real values, [time · channels] each, in the order of the tokens."""

    @property
    def _compared(self) -> NDArray[Any]:
        """The values' own bits: what is quantised to the same tokens need not be the same."""
        values = np.ascontiguousarray(self.values.tokens)
        return values.view(np.dtype(f"u{values.dtype.itemsize}"))

    def value_documents(self, split: str | None) -> Documents:
        """The real values of a split's documents, or of all."""
        chosen = self.documents(split) if split else self.all_documents
        return replace(chosen, tokens=self.values.tokens)

    def document_name(self, index: int) -> str:
        """A document's name, which decides its split."""
        return f"document {index}"

    def write(self, writer: TokenWriter) -> None:
        """Quantise every document; the range is that of all values, around their mean."""
        flat = self.values.tokens
        pieces = range(0, len(flat), PIECE)
        middle = sum(float(np.sum(flat[i : i + PIECE], dtype=np.float64)) for i in pieces) / max(1, len(flat))
        reach = max((float(np.abs(np.asarray(flat[i : i + PIECE]) - middle).max()) for i in pieces), default=1.0)
        for index, (start, end) in enumerate(self.values.spans.tolist()):
            writer.begin(self.document_name(index))
            for i in range(start, end, PIECE):
                values = np.asarray(flat[i : min(i + PIECE, end)], dtype=np.float64)
                writer.add(self.quantiser.tokens(values, middle, reach))


class FileArrayCorpus(ArrayCorpus):
    """A .npy or .npz file of floats: [time], [documents, time] or [documents, time, channels].

    Rows that were filled up to one length, with a value (padding.py says which) or with NaN, are cut there.
    """

    recorded = True

    seeks = "equal"

    def __init__(self, name: str, path: Path, values: NDArray[Any], quantiser: Quantiser) -> None:
        self.name = name
        self.quantiser = quantiser
        self.vocabulary = quantiser.levels
        self._path = path
        shaped = values[None] if values.ndim == 1 else values
        if shaped.ndim not in (2, 3) or not shaped.size:
            raise BadInput(
                f"{name}: the shape must be [documents, time] or [documents, time, channels], found {values.shape}"
            )
        self.channels = self.period = shaped.shape[2] if shaped.ndim == 3 else 1
        self._shaped = shaped

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file and the quantiser."""
        pad = self._padding
        cut = " cut" if self._filled else ""
        cut = f" cut at {pad.token} {pad.front} {pad.back} {pad.behind}" if pad else cut
        digest = hashlib.sha256(f"array 1 {self.quantiser.fingerprint}{cut}".encode())
        with self._path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    @cached_property
    def _seen(self) -> Padding | None:
        """What seems to fill rows up, if it is a number."""
        return noticed(self._shaped.reshape(*self._shaped.shape[:2], -1)[:, :, 0])

    @property
    def _padding(self) -> Padding | None:
        """What fills rows up beyond doubt."""
        return None if self._seen is None or self._seen.why == "doubtful" else self._seen

    @cached_property
    def _filled(self) -> bool:
        """Do rows end in steps of NaN?"""
        return bool(np.isnan(self._shaped[:, -1]).reshape(len(self._shaped), -1).all(axis=1).any())

    def _rows(self) -> list[NDArray[Any]]:
        """The rows without what fills them up; those that hold nothing else are left out."""
        rows = [_without_nan(row) for row in self._shaped] if self._filled else list(self._shaped)
        rows = [self._padding.inside(row) for row in rows] if self._padding else rows
        return [row for row in rows if len(row)]

    @cached_property
    def values(self) -> Documents:
        """The array, read where it lies, or without padding. Raises BadInput at the first value that is not finite."""
        rows = self._rows()
        for index, row in enumerate(rows):
            finite = np.isfinite(row)
            if not finite.all():
                place = ", ".join(str(i) for i in np.argwhere(~finite)[0])
                raise BadInput(f"{self.name}: document {index}, position {place}: not a finite number")
        if not rows:
            raise BadInput(f"{self.name}: contains no numbers, only NaN")
        sizes = np.array([row.size for row in rows])
        ends = np.cumsum(sizes)
        cut = int(ends[-1]) < self._shaped.size
        flat = np.concatenate([row.reshape(-1) for row in rows]) if cut else self._shaped.reshape(-1)
        return Documents(flat, np.stack([ends - sizes, ends], axis=1))

    @property
    def notes(self) -> list[str]:
        """How values became tokens."""
        how = f"{self.quantiser.quantise}, {self.vocabulary} levels"
        how_read = f"real values, {self.channels} per time step; turned into tokens by {how}"
        return [how_read, *self._cut_notes(), *super().notes]

    def _cut_notes(self) -> list[str]:
        notes = ["rows end in NaN: taken for padding and removed"] if self._filled else []
        if self._seen:
            doubt = "kept; if it is padding, replace it by NaN" if self._seen.why == "doubtful" else ""
            does = doubt or "taken for padding and removed"
            notes.append(f"{self._seen.sentence} {self._seen.token:g}, {WHY[self._seen.why]}: {does}")
        return notes


def _without_nan(row: NDArray[Any]) -> NDArray[Any]:
    """A row [t] or [t, channels] without the steps of NaN that it ends in."""
    kept = np.flatnonzero(~np.isnan(row).reshape(len(row), -1).all(axis=1))
    return row[: kept[-1] + 1] if len(kept) else row[:0]
