"""FASTA: sequences of nucleotides or amino acids, one token a letter, each record a document."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.errors import BadInput

SUFFIXES = (".fa", ".fasta", ".fna", ".ffn", ".faa", ".fa.gz", ".fasta.gz", ".fna.gz", ".ffn.gz", ".faa.gz")
NUCLEOTIDES, AMBIGUOUS = "ACGT", "NRYSWKMBDHV"
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
GAP = 10
_LETTERS = NDArray[np.uint8]


def is_fasta(path: Path) -> bool:
    """True when the file's name says so."""
    return path.name.lower().endswith(SUFFIXES)


class FastaCorpus(Corpus):
    """Records of FASTA files (plain or gzip). Lower case (soft-masked) counts as upper, U as T.

    Ambiguous nucleotides become one letter, N; a run of GAP or more cuts the record, since its length is a
    convention of the assembly, and the pieces stay in one split. Vocabulary: the letters that occur.
    """

    def __init__(self, name: str, files: list[tuple[Path, str]]) -> None:
        self.name = name
        self._files = files

    @cached_property
    def _seen(self) -> tuple[str, NDArray[np.int64]]:
        """The fingerprint and how often each byte occurs, from one pass over all records."""
        digest, counts = hashlib.sha256(b"fasta 1"), np.zeros(256, dtype=np.int64)
        for path, name in self._files:
            digest.update(name.encode())
            for record, letters in fasta_records(path):
                digest.update(f"\0{record}\0".encode())
                digest.update(letters.tobytes())
                counts += np.bincount(letters, minlength=256)
        return digest.hexdigest()[:16], counts

    @property
    def fingerprint(self) -> str:
        """Hash of every record's name and letters."""
        return self._seen[0]

    @cached_property
    def alphabet(self) -> str:
        """The letters that are tokens, in order: nucleotides (with N if there is one) or amino acids (with X)."""
        upper = np.zeros(256, dtype=np.int64)
        np.add.at(upper, _UPPER, self._seen[1])
        present = {chr(code) for code in np.nonzero(upper)[0]}
        known, other = (NUCLEOTIDES, "N") if present <= set(NUCLEOTIDES + AMBIGUOUS) else (AMINO_ACIDS, "X")
        return known + (other if present - set(known) else "")

    @property
    def vocabulary(self) -> int:  # type: ignore[override]
        """Letters of the alphabet."""
        return len(self.alphabet)

    @property
    def notes(self) -> list[str]:
        """The alphabet, and what was folded into it."""
        counts = self._seen[1]
        total = max(1, int(counts.sum()))
        masked = counts[ord("a") : ord("z") + 1].sum() / total
        other = (
            1 - sum(counts[[ord(x), ord(x.lower())]].sum() for x in self.alphabet[: 4 + 16 * self._is_protein]) / total
        )
        said = f"alphabet {self.alphabet} ({self.vocabulary} tokens)"
        said += f"; {masked:.1%} soft-masked letters taken as upper case" if masked else ""
        said += f"; {other:.2%} ambiguous letters are {self.alphabet[-1]}" if other > 1e-12 else ""
        said += "" if self._is_protein or other <= 1e-12 else f", runs of {GAP} or more cut the record"
        return [said, *super().notes]

    @property
    def _is_protein(self) -> bool:
        return self.alphabet.startswith(AMINO_ACIDS)

    def family(self, name: str) -> str:
        """Pieces of one record stay together."""
        return name.rpartition("|")[0] or name

    def write(self, writer: TokenWriter) -> None:
        """Write every record, or its pieces between long runs of N."""
        code = np.full(256, len(self.alphabet) - 1, dtype=np.uint8)
        for index, letter in enumerate(self.alphabet):
            code[[ord(letter), ord(letter.lower())]] = index
        if not self._is_protein:
            code[[ord("U"), ord("u")]] = self.alphabet.index("T")
        for path, name in self._files:
            for record, letters in fasta_records(path):
                tokens = code[letters]
                for start, end in self._pieces(tokens):
                    writer.begin(f"{name}:{record}|{start}")
                    writer.add(tokens[start:end])

    def _pieces(self, tokens: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
        """Spans between runs of GAP or more N."""
        if self._is_protein or not self.alphabet.endswith("N"):
            yield 0, len(tokens)
            return
        unknown = np.concatenate([[0], tokens == len(self.alphabet) - 1, [0]]).astype(np.int8)
        begins, ends = (np.nonzero(np.diff(unknown) == sign)[0] for sign in (1, -1))
        long = ends - begins >= GAP
        start = 0
        for begin, end in zip(begins[long].tolist(), ends[long].tolist(), strict=True):
            if begin > start:
                yield start, begin
            start = end
        if start < len(tokens):
            yield start, len(tokens)


_UPPER = np.array([ord(chr(c).upper()) if chr(c).isascii() else c for c in range(256)])
_UPPER[[ord("U"), ord("u")]] = ord("T")


def fasta_records(path: Path) -> Iterator[tuple[str, _LETTERS]]:
    """(name, letters [length]) of each record. Raises BadInput on an empty record or a byte that is no letter."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield from _records(cast(BinaryIO, file), path)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _records(file: BinaryIO, path: Path) -> Iterator[tuple[str, _LETTERS]]:
    name, began = None, 0
    parts: list[bytes] = []
    for number, line in enumerate(file, start=1):
        if line.startswith(b">"):
            if name is not None:
                yield name, _joined(parts, path, name, began)
            name, began, parts = (line[1:].split() or [b"?"])[0].decode("utf-8", "replace"), number, []
        elif line.strip():
            if name is None:
                raise BadInput(f"{path}: line {number}: not FASTA: a line that starts with '>' is expected first")
            letters = line.strip()
            if not letters.replace(b"*", b"").replace(b"-", b"").isalpha():
                raise BadInput(f"{path}: line {number}: record '{name}': letters are expected, found {letters[:20]!r}")
            parts.append(letters)
    if name is None:
        raise BadInput(f"{path}: not FASTA: no line starts with '>'")
    yield name, _joined(parts, path, name, began)


def _joined(parts: list[bytes], path: Path, name: str, line: int) -> _LETTERS:
    if not parts:
        raise BadInput(f"{path}: line {line}: record '{name}' is empty")
    return np.frombuffer(b"".join(parts), dtype=np.uint8)
