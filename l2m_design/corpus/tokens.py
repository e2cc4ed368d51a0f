"""The token cache: one folder a corpus, written atomically, memory-mapped when read."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2m_design.errors import BadInput


def cache_folder() -> Path:
    """Where tokens are cached: $L2M_CACHE, else l2m-design under $XDG_CACHE_HOME or ~/.cache."""
    if named := os.environ.get("L2M_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "l2m-design"


class TokenWriter:
    """Streams documents to disk: begin(name), then add(tokens) in pieces; memory stays flat."""

    def __init__(self, folder: Path, vocabulary: int) -> None:
        self.dtype = np.min_scalar_type(vocabulary - 1)
        self._folder = folder
        self._file = (folder / "tokens.bin").open("wb")
        self._written = 0
        self._ends: list[int] = []
        self._names: list[str] = []

    def begin(self, name: str) -> None:
        """Start the next document; its name decides its split."""
        self._names.append(name)
        self._ends.append(self._written)

    def add(self, tokens: ArrayLike) -> None:
        """Append tokens [any number] to the current document."""
        piece = np.asarray(tokens, dtype=self.dtype)
        self._file.write(piece.tobytes())
        self._written += piece.size
        self._ends[-1] = self._written

    def close(self) -> None:
        """Write the index; documents without a token are dropped."""
        self._file.close()
        ends = np.array(self._ends, dtype=np.int64)
        filled = np.diff(ends, prepend=0) > 0
        np.save(self._folder / "ends.npy", ends[filled])
        names = [name for name, keep in zip(self._names, filled, strict=True) if keep]
        (self._folder / "names.json").write_text(json.dumps(names))
        (self._folder / "dropped.json").write_text(json.dumps(int((~filled).sum())))


def open_tokens(
    fingerprint: str, vocabulary: int, write: Callable[[TokenWriter], None]
) -> tuple[NDArray[Any], NDArray[np.int64], list[str], int]:
    """Tokens [all], document ends [documents] and names of a corpus, from the cache or written now; how many documents
    held nothing and were dropped.

    Two processes may do this at once: each writes a folder of its own and the first rename wins.
    """
    folder = cache_folder() / "tokens" / fingerprint
    if not folder.exists():
        try:
            _fill(folder, vocabulary, write)
        except OSError as error:
            raise BadInput(
                f"token cache {folder.parent}: {error.strerror or error}; set L2M_CACHE to a writable folder"
            ) from None
    ends = np.load(folder / "ends.npy", allow_pickle=False)
    names = json.loads((folder / "names.json").read_text())
    counted = folder / "dropped.json"
    dropped = int(json.loads(counted.read_text())) if counted.exists() else 0
    if not len(ends):
        return np.zeros(0, dtype=np.uint8), ends, names, dropped
    tokens = np.memmap(folder / "tokens.bin", dtype=np.min_scalar_type(vocabulary - 1), mode="r")
    return tokens, ends, names, dropped


def _fill(folder: Path, vocabulary: int, write: Callable[[TokenWriter], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        writer = TokenWriter(temporary, vocabulary)
        write(writer)
        writer.close()
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
