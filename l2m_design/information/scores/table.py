"""The score table: one Parquet file of scored segments, written batch by batch, never half.

Each batch is a small file of its own beside the table until the table is closed; what a stopped run had scored is
found again. Columns: document and start of the segment, document, start and length of what stood before it
(-1, -1, 0 for nothing), and its nats, one 32-bit number a token.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import pyarrow
import pyarrow.parquet

from l2m_design.corpus.base import Documents
from l2m_design.errors import BadInput, WorkFailed, first_line
from l2m_design.estimates import Floats
from l2m_design.information.scores.segments import Key

COLUMNS = ("document", "start", "past_document", "past_start", "past_length")
SCHEMA = pyarrow.schema([*((name, pyarrow.int64()) for name in COLUMNS), ("nats", pyarrow.list_(pyarrow.float32()))])


class ScoreTable:
    """Rows of one corpus and one scorer. Use it in a `with`: leaving it writes the one file and lets go of its lock.

    Raises BadInput when the file holds other scores, is no table, or is being written by another run.
    """

    def __init__(self, path: Path, documents: Documents, identity: dict[str, str]) -> None:
        self.path = path
        self._documents = documents
        self._identity = identity
        self._parts = path.with_name(f"{path.name}.parts")
        self._rows: dict[Key, Floats] = {}
        self._added = 0
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            self._lock = (self._parts / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{self.path}: another run is writing this table") from None
        except OSError as error:
            raise BadInput(f"{self.path}: {error.strerror or error}") from None
        try:
            for path in [self.path, *sorted(self._parts.glob("*.parquet"))]:
                if path.exists():
                    self._read(path)
        except BaseException:
            self._release()
            raise
        self._added = len(list(self._parts.glob("*.parquet")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._added:
            self._write(self.path, self._rows)
        for path in [*self._parts.glob("*.parquet"), *self._parts.glob(".*.parquet.*")]:
            path.unlink()
        self._release()

    def _release(self) -> None:
        """Release the lock, and of the folder where nothing is left in it."""
        (self._parts / "lock").unlink(missing_ok=True)
        if self._lock:
            self._lock.close()
        if not any(self._parts.iterdir()):
            self._parts.rmdir()

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, key: Key) -> Floats | None:
        """The nats of the longest segment with this key, if one was scored."""
        return self._rows.get(key)

    def add(self, rows: dict[Key, Floats]) -> None:
        """Keep scored segments, on disk before this returns."""
        self._rows.update(rows)
        self._write(self._parts / f"{self._added:08d}.parquet", rows)
        self._added += 1

    def _write(self, path: Path, rows: dict[Key, Floats]) -> None:
        begins = self._documents.spans[:, 0]

        def place(begin: int) -> tuple[int, int]:
            document = int(np.searchsorted(begins, begin, side="right")) - 1 if begin >= 0 else -1
            return document, int(begin - begins[document]) if begin >= 0 else -1

        records: list[dict[str, object]] = []
        for (past_begin, past_length, begin), nats in rows.items():
            numbers = (*place(begin), *place(past_begin), past_length)
            records.append(dict(zip(COLUMNS, numbers, strict=True)) | {"nats": np.asarray(nats, dtype=np.float32)})
        table = pyarrow.Table.from_pylist(records, schema=SCHEMA.with_metadata(self._identity))
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            pyarrow.parquet.write_table(table, temporary, compression="zstd")
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            reason = os.strerror(error.errno) if error.errno else first_line(error)
            raise WorkFailed(f"{path}: {reason}; earlier batches are saved; run the same command to continue") from None

    def _read(self, path: Path) -> None:
        try:
            table = pyarrow.parquet.read_table(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise BadInput(f"{path}: not a score table: {first_line(error)}") from None
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        for what, mine in self._identity.items():
            if metadata.get(what) != mine:
                raise BadInput(
                    f"{path}: contains scores of another {what} ({metadata.get(what, 'unknown')}, not {mine}); "
                    "give another file with `scores`"
                )
        begins = self._documents.spans[:, 0]
        document, start, past_document, past_start, past_length = (table[name].to_numpy() for name in COLUMNS)
        begin = begins[document] + start
        past_begin = np.where(past_document >= 0, begins[past_document] + past_start, -1)
        keys = zip(past_begin.tolist(), past_length.tolist(), begin.tolist(), strict=True)
        nats = table["nats"].combine_chunks()
        values, offsets = nats.values.to_numpy(), nats.offsets.to_numpy()
        for index, key in enumerate(keys):
            row = values[offsets[index] : offsets[index + 1]]
            if len(row) > len(self._rows.get(key, ())):
                self._rows[key] = row
