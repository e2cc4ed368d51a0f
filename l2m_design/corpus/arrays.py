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
    """Documents of real values; channels of one instant stand side by side, so windows start at multiples of them."""

    channels: int = 1
    quantiser: Quantiser

    @property
    @abstractmethod
    def values(self) -> Documents:
        """Documents of real values, [time · channels] each, in the order of the tokens."""

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
    """A .npy or .npz file of floats: [time], [documents, time] or [documents, time, channels]."""

    seeks = "equal"

    def __init__(self, name: str, path: Path, values: NDArray[Any], quantiser: Quantiser) -> None:
        self.name = name
        self.quantiser = quantiser
        self.vocabulary = quantiser.levels
        self._path = path
        shaped = values[None] if values.ndim == 1 else values
        if shaped.ndim not in (2, 3) or not shaped.size:
            raise BadInput(f"{name}: [documents, time(, channels)] is expected, found the shape {values.shape}")
        self.channels = self.period = shaped.shape[2] if shaped.ndim == 3 else 1
        self._shaped = shaped

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file and the quantiser."""
        digest = hashlib.sha256(f"array 1 {self.quantiser.fingerprint}".encode())
        with self._path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    @cached_property
    def values(self) -> Documents:
        """The array, read where it lies. Raises BadInput naming the first value that is not finite."""
        documents, size = len(self._shaped), self._shaped[0].size
        for index in range(documents):
            finite = np.isfinite(self._shaped[index])
            if not finite.all():
                place = ", ".join(str(i) for i in np.argwhere(~finite)[0])
                raise BadInput(f"{self.name}: document {index}, position {place}: not a finite number")
        ends = np.arange(1, documents + 1) * size
        return Documents(self._shaped.reshape(-1), np.stack([ends - size, ends], axis=1))

    @property
    def notes(self) -> list[str]:
        """How values became tokens."""
        how = f"{self.quantiser.quantise}, {self.vocabulary} levels"
        said = f"real values, {self.channels} a time step; as tokens: {how}"
        return [said, *super().notes]
