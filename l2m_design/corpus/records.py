"""Records: files that hold many documents, one in each record."""

import json
from collections.abc import Iterator
from pathlib import Path

from l2m_design.errors import BadInput


def jsonl_texts(path: Path, field: str = "text") -> Iterator[tuple[int, str]]:
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
