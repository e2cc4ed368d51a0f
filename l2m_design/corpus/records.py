"""Records: files and data sets that hold many documents, one in each record."""

import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from l2m_design.corpus.shapes import BOM, COMMENTS, Shape, delimiter_of, opened
from l2m_design.corpus.tokens import cache_folder
from l2m_design.errors import BadInput, first_line

Reader = Callable[[Path, str], Iterator[tuple[int, Any]]]

FIELD = "text"
ABSENT = object()
STREAMED_DOCUMENTS = 10_000


def texts_of(path: Path, shape: Shape, field: str = FIELD) -> Iterator[tuple[int, str]]:
    """(number, text) of each record of a file, from 1 on; of JSON lines and tables the line.

    field: its name, with dots for one inside another. A record without the field, or where it is null or empty, answers
    an empty text; a record that is a string is the text. Raises BadInput where no record has the field, naming the
    first; where another kind of value is in it; where a record is neither object, string nor null.
    """
    lacking, found = "", False
    for number, record in READERS[shape](path, field):
        where = f"{path}: {'row' if shape == 'parquet' else 'record' if shape == 'json' else 'line'} {number}"
        text = record if isinstance(record, str) and field == FIELD else _inside(record, field, where)
        if text is ABSENT:
            lacking = lacking or f"{where}: no field '{field}'; {_fields_of(record)}"
            yield number, ""
            continue
        if text is not None and not isinstance(text, str):
            held = type(text).__name__
            if shape == "parquet":
                raise BadInput(f"{where}: column '{field}' must contain strings, found {held}")
            raise BadInput(f"{where}: field '{field}' must be a string, found {held}")
        found = True
        yield number, text or ""
    if lacking and not found:
        raise BadInput(lacking)


def _inside(record: Any, field: str, where: str) -> Any:
    """A field by its name, or step by step where the name has dots; none inside of null, ABSENT where it is not."""
    if record is None:
        return ABSENT
    if not isinstance(record, dict):
        raise BadInput(f"{where}: no field '{field}': a record must be an object with fields")
    if field in record:
        return record[field]
    value: Any = record
    for step in field.split("."):
        if value is None:
            return None
        if not isinstance(value, dict) or step not in value:
            return ABSENT
        value = value[step]
    return value


def _fields_of(record: dict[str, Any] | None) -> str:
    return f"it has {', '.join(map(str, list(record)[:10]))}" if record else "it is empty"


def _json_lines(path: Path, field: str) -> Iterator[tuple[int, Any]]:
    """Line by line, behind comments at the top."""
    with opened(path) as file:
        begun = False
        for number, line in enumerate(file, start=1):
            line = (line.removeprefix(BOM) if number == 1 else line).strip()
            begun = begun or (bool(line) and not line.startswith((b"#", b"//")))
            if line and begun:
                yield number, _parsed(line, f"{path}: line {number}")


def _json(path: Path, field: str) -> Iterator[tuple[int, Any]]:
    """The elements of an array, objects one after another, or what one object holds."""
    with opened(path) as file:
        content = COMMENTS.sub(b"", file.read().removeprefix(BOM), count=1).strip()
    if not content:
        return
    try:
        values = list(_values(content.decode()))
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON: {error}; to read it as plain text give format=text") from None
    if len(values) == 1:
        values = values[0] if isinstance(values[0], list) else _held(values[0], field, path)
    yield from enumerate(values, start=1)


def _values(content: str) -> Iterator[Any]:
    decoder, at = json.JSONDecoder(), 0
    while at < len(content):
        value, at = decoder.raw_decode(content, at)
        yield value
        while at < len(content) and content[at].isspace():
            at += 1


def _held(whole: Any, field: str, path: Path) -> list[Any]:
    """The records of one object: the elements of the field's column, or of its one array of objects, or itself."""
    text = _inside(whole, field, f"{path}: record 1")
    if isinstance(text, list):
        return [{field: each} for each in text]
    if text is not ABSENT:
        return [whole]
    tables = [each for each in (whole or {}).values() if isinstance(each, list) and isinstance((each or [0])[0], dict)]
    if len(tables) != 1:
        many = f"{len(tables)} arrays of records" if tables else f"no field '{field}' and no array of records"
        raise BadInput(f"{path}: {many}; {_fields_of(whole)}; to read it as plain text give format=text")
    return tables[0]


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: not UTF-8 text at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: not JSON: {error}") from None


def _table(usual: str) -> Reader:
    def rows(path: Path, field: str) -> Iterator[tuple[int, Any]]:
        csv.field_size_limit(2**31 - 1)
        try:
            with _lines(path) as file:
                header = next((line for line in file if line.strip("\r\n")), "")
                delimiter, tabs = delimiter_of(header, usual, field), header.count("\t")
                plain = delimiter == "\t" and all(line.count("\t") == tabs > 0 for line in file if line.strip("\r\n"))
            yield from _rows(path, field, delimiter, plain)
        except UnicodeDecodeError as error:
            raise BadInput(f"{path}: not UTF-8 text: {error.reason}") from None

    return rows


def _lines(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(opened(path), "utf-8-sig", newline="")


def _rows(path: Path, field: str, delimiter: str, plain: bool) -> Iterator[tuple[int, Any]]:
    """Rows of as many cells as the header. plain: each line is a row, whatever quotes there are."""
    with _lines(path) as file:
        quoting: Literal[0, 3] = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
        table, header, begin = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True), None, 1
        try:
            for row in table:
                cells = [_unquoted(cell) for cell in row] if plain else row
                if header is None and cells:
                    header = cells
                    if header.count(field) > 1:
                        raise BadInput(
                            f"{path}: line {table.line_num}: {header.count(field)} columns are named '{field}'"
                        )
                elif header is not None and cells:
                    if len(cells) != len(header):
                        raise BadInput(
                            f"{path}: line {begin}: {len(cells)} cells, the header has {len(header)} (separated by "
                            f"{delimiter!r}); if a cell contains the separator, put it in quotes, and write each "
                            "quote inside it twice"
                        )
                    yield table.line_num, dict(zip(header, cells, strict=True))
                begin = table.line_num + 1
        except csv.Error as error:
            raise BadInput(
                f"{path}: line {begin}: a quote is not closed or not doubled: {error} (up to line {table.line_num})"
            ) from None


def _unquoted(cell: str) -> str:
    """A cell without its quotes, where they are balanced by the rule of CSV; else as it is."""
    inner = cell[1:-1]
    if len(cell) < 2 or cell[0] + cell[-1] != '""' or '"' in inner.replace('""', ""):
        return cell
    return inner.replace('""', '"')


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
    "json": _json,
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
        raise BadInput("hf: needs the package datasets: pip install datasets") from None
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
        raise BadInput(f"{where}: no field '{field}' with a string; it has {', '.join(list(row)[:10])}")
    return text
