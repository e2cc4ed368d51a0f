"""Records: one JSON file a trial, written whole, from which everything later is made."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from l2m_design.architecture import Architecture
from l2m_design.settings import to_json, write_atomically
from l2m_design.training.result import Result

State = Literal["complete", "pruned", "infeasible", "failed"]


@dataclass(frozen=True)
class Record:
    """One asked candidate and what became of it.

    value: late loss + price · log2(state bytes), nats a token, for complete trials. verdict: the condition's
    answer, JSON-ready. rungs: (tokens, late loss) looks. reason: why it was rejected, pruned or failed.
    design: the known design's name. copy_of: the trial whose result a duplicate reuses.
    """

    number: int
    state: State
    architecture: dict[str, Any]
    picture: str
    fingerprint: str
    parameters: int
    state_bytes: int
    verdict: dict[str, Any]
    feasible: bool
    params: dict[str, Any]
    design: str | None = None
    value: float | None = None
    result: dict[str, Any] | None = None
    rungs: list[tuple[int, float]] = field(default_factory=list)
    reason: str | None = None
    copy_of: int | None = None
    seconds: float = 0.0

    def copied_from(self, twin: "Record") -> "Record":
        """This record with the fate of an equal earlier drawing."""
        fate = {"state": twin.state, "value": twin.value, "result": twin.result, "rungs": twin.rungs}
        return replace(self, reason=twin.reason, copy_of=twin.number, **fate)  # type: ignore[arg-type]

    @property
    def drawing(self) -> Architecture:
        """The candidate's architecture."""
        return Architecture.parse(self.architecture, f"trial {self.number}")

    @property
    def outcome(self) -> Result | None:
        """The training result of a complete trial."""
        return Result.of_plain(self.result) if self.result else None

    @property
    def late_loss(self) -> float | None:
        """Late loss on validation documents, nats a token."""
        return self.result["late_loss"] if self.result else None


class Records:
    """The trials of a study, by number, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records: dict[int, Record] = {}
        for path in sorted(folder.glob("*.json")):
            record = Record(**json.loads(path.read_text()))
            self._records[record.number] = record

    def add(self, record: Record) -> None:
        """Keep a record, on disk first."""
        write_atomically(self._folder / f"{record.number:05d}.json", to_json(asdict(record)))
        self._records[record.number] = record

    def __contains__(self, number: int) -> bool:
        return number in self._records

    def __getitem__(self, number: int) -> Record:
        return self._records[number]

    @property
    def all(self) -> list[Record]:
        """Every record, by number."""
        return [self._records[number] for number in sorted(self._records)]

    @property
    def trained(self) -> int:
        """Candidates that spent training time: complete, pruned or failed, duplicates not counted."""
        return sum(r.state != "infeasible" and r.copy_of is None for r in self.all)

    def twin(self, fingerprint: str) -> Record | None:
        """An earlier complete or pruned trial of the same drawing, to be reused."""
        twins = (r for r in self.all if r.fingerprint == fingerprint and r.copy_of is None)
        return next((r for r in twins if r.state in ("complete", "pruned")), None)
