"""Who is on the front, who is chosen, and what a record keeps."""

import json
from pathlib import Path
from typing import Any

from l2m_design.search import finalists
from l2m_design.search.record import Record, Records


def record(number: int, loss: float, size: int, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "number": number, "state": "complete", "architecture": {}, "picture": "A", "fingerprint": str(number),
        "parameters": 1, "state_bytes": size, "verdict": {}, "feasible": True, "params": {}, "value": loss,
        "result": {"late_loss": loss},
    }  # fmt: skip
    return Record(**{**fields, **changes})


def test_the_front_holds_what_nothing_beats() -> None:
    records = [record(0, 2.0, 100), record(1, 1.9, 200), record(2, 2.1, 150), record(3, 1.0, 50, feasible=False),
               record(4, 1.8, 400, state="pruned")]  # fmt: skip
    assert [r.number for r in finalists.front(records)] == [0, 1]
    chosen = finalists.choose(records)
    assert chosen is not None
    assert chosen.number == 1


def test_equal_losses_are_decided_by_the_smaller_state() -> None:
    chosen = finalists.choose([record(0, 2.0, 100), record(1, 2.0, 50)])
    assert chosen is not None
    assert chosen.number == 1


def test_records_survive_the_disk(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add(record(3, 2.0, 100, rungs=[(10, 2.5)]))
    again = Records(tmp_path)
    assert json.loads(json.dumps(again[3].rungs)) == [[10, 2.5]]
    assert again[3].late_loss == 2.0
    assert 3 in again
