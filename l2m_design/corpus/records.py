"""Records: files and data sets that hold many documents, one in each record."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from l2m_design.corpus.tokens import cache_folder
from l2m_design.errors import BadInput, first_line

FIELD = "text"
STREAMED_DOCUMENTS = 10_000


def jsonl_texts(path: Path, field: str = FIELD) -> Iterator[tuple[int, str]]:
    """(line number, text) of each JSON line; blank lines are passed over. Raises BadInput naming the line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}: line {number}"
            try:
                record = json.loads(line)
            except UnicodeDecodeError as error:
                raise BadInput(f"{where}: not UTF-8 text at byte {error.start} of the line") from None
            except (ValueError, RecursionError) as error:
                raise BadInput(f"{where}: not JSON: {error}") from None
            text = record.get(field) if isinstance(record, dict) else None
            if not isinstance(text, str):
                raise BadInput(f"{where}: no field '{field}' that holds a string")
            yield number, text


def parquet_texts(path: Path, field: str = FIELD) -> Iterator[tuple[int, str]]:
    """(row number, text) of each row, read in batches. Raises BadInput naming the column or the row."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if field not in names:
            raise BadInput(f"{path}: no column '{field}'; it has {', '.join(names[:10])}")
        row = 0
        for batch in file.iter_batches(batch_size=256, columns=[field]):
            for text in batch.column(0).to_pylist():
                row += 1
                if not isinstance(text, str):
                    raise BadInput(f"{path}: row {row}: column '{field}' holds no string")
                yield row, text
    except pyarrow.ArrowException as error:
        raise BadInput(f"{path}: not a Parquet file: {first_line(error)}") from None


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
