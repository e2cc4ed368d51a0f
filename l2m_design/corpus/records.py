"""Records: files and data sets that hold many documents, one in each record."""

import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from l2m_design.corpus.shapes import BOM, Shape, opened
from l2m_design.corpus.tokens import cache_folder
from l2m_design.errors import BadInput, first_line

Reader = Callable[[Path, str], Iterator[tuple[int, Any]]]

FIELD = "text"
STREAMED_DOCUMENTS = 10_000


def texts_of(path: Path, shape: Shape, field: str = FIELD) -> Iterator[tuple[int, str]]:
    """(number, text) of each record of a file, from 1 on; of JSON lines and tables the line.

    field: its name, with dots for one inside another. A record whose field is null or empty answers an empty text.
    Raises BadInput naming the record that has no such field, or another kind of value in it.
    """
    for number, record in READERS[shape](path, field):
        where = f"{path}: {'row' if shape == 'parquet' else 'record' if shape == 'json' else 'line'} {number}"
        if not isinstance(record, dict):
            raise BadInput(f"{where}: no field '{field}': a record is an object with fields")
        text = _inside(record, field, where)
        if text is not None and not isinstance(text, str):
            held = type(text).__name__
            if shape == "parquet":
                raise BadInput(f"{where}: column '{field}' holds no string: it holds {held}")
            raise BadInput(f"{where}: no field '{field}' that holds a string: it holds {held}")
        yield number, text or ""


def _inside(record: dict[str, Any], field: str, where: str) -> Any:
    """A field by its name, or step by step where the name has dots; none inside of null."""
    if field in record:
        return record[field]
    value: Any = record
    for step in field.split("."):
        if value is None:
            return None
        if not isinstance(value, dict) or step not in value:
            raise BadInput(f"{where}: no field '{field}'; it has {', '.join(map(str, list(record)[:10]))}")
        value = value[step]
    return value


def _json_lines(path: Path, field: str) -> Iterator[tuple[int, Any]]:
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(BOM) if number == 1 else line
            if line.strip():
                yield number, _parsed(line, f"{path}: line {number}")


def _json_array(path: Path, field: str) -> Iterator[tuple[int, Any]]:
    with opened(path) as file:
        content = file.read().removeprefix(BOM)
    records = _parsed(content, str(path))
    yield from enumerate(records if isinstance(records, list) else [records], start=1)


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: not UTF-8 text at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: not JSON: {error}") from None


def _table(delimiter: str) -> Reader:
    def rows(path: Path, field: str) -> Iterator[tuple[int, Any]]:
        csv.field_size_limit(2**31 - 1)
        with opened(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
            table = csv.DictReader(file, delimiter=delimiter)
            try:
                for row in table:
                    yield table.line_num, {str(name): value for name, value in row.items() if name is not None}
            except UnicodeDecodeError as error:
                raise BadInput(f"{path}: after line {table.line_num}: not UTF-8 text: {error.reason}") from None
            except csv.Error as error:
                raise BadInput(f"{path}: line {table.line_num}: {error}") from None

    return rows


def _parquet(path: Path, field: str) -> Iterator[tuple[int, Any]]:
    """Read in batches, the column of the field alone."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        column = field if field in names else field.split(".")[0]
        if column not in names:
            raise BadInput(f"{path}: no column '{field}'; it has {', '.join(names[:10])}")
        rows = (row for batch in file.iter_batches(batch_size=256, columns=[column]) for row in batch.to_pylist())
        yield from enumerate(rows, start=1)
    except pyarrow.ArrowException as error:
        raise BadInput(f"{path}: not a Parquet file: {first_line(error)}") from None


READERS: dict[Shape, Reader] = {
    "jsonl": _json_lines,
    "json": _json_array,
    "csv": _table(","),
    "tsv": _table("\t"),
    "parquet": _parquet,
}


def streamed(name: str, config: str | None, split: str, field: str, documents: int) -> Path:
    """The first `documents` texts of a Hugging Face data set as a .jsonl file, streamed once and kept in the cache.

    Raises BadInput when the data set cannot be read or has no such field.
    """
    key = hashlib.sha256(json.dumps([name, config, split, field, documents]).encode()).hexdigest()[:16]
    path = cache_folder() / "streamed" / f"{key}.jsonl"
    if path.exists():
        return path
    try:
        import datasets
    except ImportError:
        raise BadInput("hf: needs the package datasets: pip install 'l2m-design[datasets]'") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{key}.")
    try:
        rows = datasets.load_dataset(name, config, split=split, streaming=True)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for number, row in enumerate(rows.take(documents), start=1):
                file.write(json.dumps({FIELD: _text(row, field, f"hf:{name}: record {number}")}) + "\n")
        os.replace(temporary, path)
    except BadInput:
        raise
    except Exception as error:  # datasets raises many kinds; a user sees one line
        raise BadInput(f"hf:{name}: {first_line(error)}") from None
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def _text(row: dict[str, Any], field: str, where: str) -> str:
    text = row.get(field)
    if not isinstance(text, str):
        raise BadInput(f"{where}: no field '{field}' that holds a string; it has {', '.join(list(row)[:10])}")
    return text
