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
PIECE = 1 << 22
_LETTERS = NDArray[np.uint8]


def is_fasta(path: Path) -> bool:
    """True when the file's name says so."""
    return path.name.lower().endswith(SUFFIXES)


class FastaCorpus(Corpus):
    """Records of FASTA files (plain or gzip). Lower case (soft-masked) counts as upper; gaps (-) and stops (*) are left
    out; U is T where the letters are nucleotides.

    Ambiguous nucleotides become one letter, N; a run of GAP or more cuts the record, since its length is a
    convention of the assembly, and the pieces stay in one split. Vocabulary: the letters that occur.
    """

    seeks = "near"

    def __init__(self, name: str, files: list[tuple[Path, str]]) -> None:
        self.name = name
        self._files = files

    @cached_property
    def _seen(self) -> tuple[str, dict[str, int], float]:
        """The fingerprint, how often each upper-case letter occurs, and the share of lower case, from one pass."""
        digest, counts = hashlib.sha256(b"fasta 2"), np.zeros(256, dtype=np.int64)
        for path, name in self._files:
            digest.update(name.encode())
            for record, letters in fasta_pieces(path):
                if record is not None:
                    digest.update(f"\0{record}\0".encode())
                digest.update(letters.tobytes())
                counts += np.bincount(letters, minlength=256)
        lower = float(counts[ord("a") : ord("z") + 1].sum()) / max(1, int(counts.sum()))
        letters_of = {chr(c): int(counts[c] + counts[c + 32]) for c in range(ord("A"), ord("Z") + 1)}
        return digest.hexdigest()[:16], {letter: n for letter, n in letters_of.items() if n}, lower

    @property
    def fingerprint(self) -> str:
        """Hash of every record's name and letters."""
        return self._seen[0]

    @property
    def _is_protein(self) -> bool:
        return not set(self._seen[1]) <= set(NUCLEOTIDES + "U" + AMBIGUOUS)

    @property
    def _known(self) -> str:
        return AMINO_ACIDS if self._is_protein else NUCLEOTIDES + "U"

    @cached_property
    def alphabet(self) -> str:
        """The letters that are tokens, in order: nucleotides (with N if there is one) or amino acids (with X)."""
        strange = set(self._seen[1]) - set(self._known)
        return self._known.removesuffix("U") + (("X" if self._is_protein else "N") if strange else "")

    @property
    def vocabulary(self) -> int:  # type: ignore[override]
        """Letters of the alphabet."""
        return len(self.alphabet)

    @property
    def notes(self) -> list[str]:
        """The alphabet, and what was folded into it."""
        _, counts, masked = self._seen
        strange = sum(n for letter, n in counts.items() if letter not in self._known) / max(1, sum(counts.values()))
        note = f"alphabet {self.alphabet} ({self.vocabulary} tokens)"
        note += f"; {masked:.1%} soft-masked letters are read as upper case" if masked else ""
        note += f"; {strange:.2%} ambiguous letters are read as {self.alphabet[-1]}" if strange else ""
        note += f", runs of {GAP} or more divide the record" if strange and not self._is_protein else ""
        return [note, *super().notes]

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
        unknown = len(self.alphabet) - 1 if self.alphabet.endswith("N") else 256
        for path, name in self._files:
            cutter = _Cutter(writer, unknown)
            for record, letters in fasta_pieces(path):
                if record is not None:
                    cutter.begin(f"{name}:{record}")
                cutter.add(code[letters])


class _Cutter:
    """Hands tokens on, and begins a new document behind every run of GAP or more of the `unknown` token."""

    def __init__(self, writer: TokenWriter, unknown: int) -> None:
        self._writer, self._unknown = writer, unknown
        self._name, self._place, self._run = "", 0, 0

    def begin(self, name: str) -> None:
        """The next record."""
        self._name, self._place, self._run = name, 0, 0
        self._writer.begin(f"{name}|0")

    def add(self, tokens: NDArray[np.uint8]) -> None:
        """Some tokens of the record, in order."""
        edges = np.diff(np.concatenate([[0], tokens == self._unknown, [0]]).astype(np.int8))
        begins, ends = (np.nonzero(edges == sign)[0].tolist() for sign in (1, -1))
        start = 0
        for begin, end in zip(begins, ends, strict=True):
            if begin > start:
                self._pass_on(tokens[start:begin], self._place + start)
            self._run += end - begin
            start = end
        if start < len(tokens):
            self._pass_on(tokens[start:], self._place + start)
        self._place += len(tokens)

    def _pass_on(self, known: NDArray[np.uint8], place: int) -> None:
        if self._run >= GAP:
            self._writer.begin(f"{self._name}|{place}")
        elif self._run:
            self._writer.add(np.full(self._run, self._unknown))
        self._run = 0
        self._writer.add(known)


def fasta_pieces(path: Path) -> Iterator[tuple[str | None, _LETTERS]]:
    """(name or None, letters): a record's first piece has its name, further pieces of about PIECE letters have none.

    Raises BadInput on an empty record or a byte that is no letter.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield from _pieces(cast(BinaryIO, file), path)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _pieces(file: BinaryIO, path: Path) -> Iterator[tuple[str | None, _LETTERS]]:
    name: str | None = None
    pending: str | None = None  # the name until its first letters are handed on
    began, waiting = 0, bytearray()
    for number, line in enumerate(file, start=1):
        if line.startswith(b">"):
            if name is not None and pending is not None and not waiting:
                raise BadInput(f"{path}: line {began}: record '{name}' is empty")
            if waiting:
                yield pending, np.frombuffer(bytes(waiting), dtype=np.uint8)
            name = pending = (line[1:].split() or [b"?"])[0].decode("utf-8", "replace")
            began, waiting = number, bytearray()
        elif letters := line.translate(None, b"-*").strip():
            if name is None:
                raise BadInput(f"{path}: line {number}: not FASTA: the first line must start with '>'")
            if not letters.isalpha():
                raise BadInput(f"{path}: line {number}: record '{name}': must contain letters, found {letters[:20]!r}")
            waiting += letters
            if len(waiting) > PIECE:
                yield pending, np.frombuffer(bytes(waiting), dtype=np.uint8)
                pending, waiting = None, bytearray()
    if name is None:
        raise BadInput(f"{path}: not FASTA: no line starts with '>'")
    if pending is not None and not waiting:
        raise BadInput(f"{path}: line {began}: record '{name}' is empty")
    if waiting:
        yield pending, np.frombuffer(bytes(waiting), dtype=np.uint8)
