"""Records: what became of every trial, from which everything later is made."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand, Judgement, Verdict
from l2m_design.search.space.layout import Picks
from l2m_design.settings import Json
from l2m_design.training.result import Result

State = Literal["complete", "pruned", "infeasible", "failed"]


@dataclass(frozen=True)
class Record:
    """One asked candidate and what became of it.

    value: late loss + price · log2(state bytes), nats per token, for complete trials. verdict: the condition's
    answer, JSON-ready. rungs: (tokens, late loss) looks. reason: why it was rejected, pruned or failed.
    design: the baseline's name. copy_of: the trial whose result a duplicate reuses. rate: factor of the recipe's
    learning rate. recall: late excess over Bayes on the recall source, nats per fact, and the seconds it took.
    too_large: training it takes more memory than the study allows, whatever the condition says. stopped_seconds: that a
    run which was stopped at a rung had trained and evaluated. drawing_seconds: until it was drawn and judged; rejected:
    how many architectures were refused unasked before it. generation: of a genetic sampler, by Optuna's key. curve:
    (tokens, training loss in nats) of a run that was stopped at a rung; that of a finished one is in its result.
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
    params: Picks
    design: str | None = None
    value: float | None = None
    result: dict[str, Any] | None = None
    rungs: list[tuple[int, float]] = field(default_factory=list)
    reason: str | None = None
    copy_of: int | None = None
    seconds: float = 0.0
    rate: float = 1.0
    recall: float | None = None
    recall_seconds: float = 0.0
    note: str | None = None
    too_large: bool = False
    stopped_seconds: float = 0.0
    drawing_seconds: float = 0.0
    rejected: int = 0
    generation: dict[str, int] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)

    def copied_from(self, earlier: "Record") -> "Record":
        """This record with the fate of an equal earlier architecture."""
        fate = {name: getattr(earlier, name) for name in ("state", "value", "result", "rungs", "recall", "too_large")}
        return replace(self, reason=earlier.reason, copy_of=earlier.number, **fate)

    @property
    def drawing(self) -> Architecture:
        """The candidate's architecture."""
        return Architecture.parse(self.architecture, f"trial {self.number}")

    @property
    def misfits(self) -> bool:
        """Was it refused because no width suits its architecture, or the context does not?"""
        return self.state == "infeasible" and self.reason is not None and self.reason.startswith("layers.")

    @property
    def ran_out(self) -> bool:
        """Did its training need more memory than the GPU has?"""
        return self.state == "infeasible" and self.reason is not None and self.reason.startswith("out of memory")

    @property
    def spends(self) -> bool:
        """Did it spend training time: complete, pruned or failed, and no duplicate?"""
        return self.state != "infeasible" and self.copy_of is None

    @property
    def outcome(self) -> Result | None:
        """The training result of a complete trial."""
        return Result.of_plain(self.result) if self.result else None

    @property
    def judgement(self) -> Judgement:
        """The condition's answer."""
        return Judgement.of_plain(self.verdict)

    @property
    def late_loss(self) -> float | None:
        """Late loss on validation documents, nats per token."""
        return self.result["late_loss"] if self.result else None

    @property
    def decode_ms(self) -> float | None:
        """Milliseconds of a decoding step, if it was measured."""
        return self.result.get("decode_ms") if self.result else None

    def plain(self) -> Json:
        """JSON-ready: what `of_plain` reads."""
        return asdict(self)

    @classmethod
    def of_plain(cls, data: Mapping[str, Any]) -> "Record":
        """The record that `plain` wrote."""
        points = {name: [(tokens, loss) for tokens, loss in data.get(name, ())] for name in ("rungs", "curve")}
        return cls(**{**data, **points})

    def judged(self, demand: Demand, enforced: Iterable[str]) -> "Record":
        """The same trial under another demand, length or dtype: its state, verdict and feasibility anew."""
        state = self.drawing.state
        verdict = demand.judge(state)
        return replace(
            self,
            state_bytes=state.bytes(demand.terms.length, demand.terms.dtypes),
            verdict=verdict.plain(),
            feasible=not self.misfits and not self.too_large and meets(verdict, enforced),
        )


def meets(verdict: Verdict, enforced: Iterable[str]) -> bool:
    """Do the enforced parts of the condition hold, as far as is known?"""
    parts = {"growth": verdict.meets_growth, "level": verdict.meets_level}
    return all(parts[part] is not False for part in enforced)


class Records:
    """The trials of a study, by number."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records = {record.number: record for record in records}

    def add(self, record: Record) -> None:
        """Know one more."""
        self._records[record.number] = record

    def at(self, number: int) -> Record:
        """The record of this number."""
        return self._records[number]

    def __contains__(self, number: int) -> bool:
        return number in self._records

    @property
    def all(self) -> list[Record]:
        """Every record, by number."""
        return [self._records[number] for number in sorted(self._records)]

    @property
    def trained(self) -> int:
        """Candidates that spent training time: complete, pruned or failed, duplicates not counted."""
        return sum(r.spends for r in self.all)

    @property
    def drawn(self) -> int:
        """Of those the ones that the search drew: baselines not counted."""
        return sum(r.spends and r.design is None for r in self.all)

    def duplicate(self, fingerprint: str, rate: float, whole: bool = False) -> Record | None:
        """Return an earlier trial to reuse: complete (or pruned, unless `whole`), of equal architecture and rate.

        Else one of the same architecture, at any learning rate, that ran out of memory.
        """
        own = [r for r in self.all if r.fingerprint == fingerprint and r.copy_of is None]
        equal = (r for r in own if r.rate == rate)
        found = next((r for r in equal if r.state == "complete" or (r.state == "pruned" and not whole)), None)
        return found or next((r for r in own if r.ran_out), None)
