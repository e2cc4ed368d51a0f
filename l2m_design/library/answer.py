"""The answer of `l2m check` for one model, as JSON, and its figure."""

from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

if TYPE_CHECKING:
    from l2m_design.advice.by_length import AtLength
    from l2m_design.condition import Answer, Demand
    from l2m_design.estimates import Estimate
    from l2m_design.laws import Dtypes, StateLaw
    from l2m_design.library.allotted import Allotted
    from l2m_design.library.demand import Requirement
    from l2m_design.library.fits import Fits, Memory
    from l2m_design.library.subject import Layer, Subject
    from l2m_design.report.advice import TypeState
    from l2m_design.settings import Json
    from l2m_design.terms import Terms


class Interval(TypedDict):
    """A value with its interval. level: confidence level of an estimate."""

    value: float
    low: float
    high: float
    level: NotRequired[float]


class HeldIn(TypedDict):
    """Data types of the model and of the parts of its state."""

    model: str
    kv_cache: list[str]
    state: list[str]


class Earlier(TypedDict):
    """The state in an earlier version of a runtime."""

    version: str
    state_elements: int
    state_bytes: int
    bytes_per_token: float


class DemandAnswer(TypedDict):
    """The requirement, and where it comes from."""

    source: str
    unit: str
    bytes_per_token: float | None
    beta: dict[str, float] | None
    law: str
    nats_per_element: float
    nats_by_kind: dict[str, float]
    nats_range: dict[str, tuple[float, float]]
    end: str


class Changes(TypedDict):
    """State by layer type, and the changes that would change the answer (see Change.plain)."""

    pays: "list[TypeState]"
    options: "list[Json]"
    then: "Json | None"
    practised: "Json | None"


class Reached(TypedDict):
    """The longest context covered (see condition.Reach)."""

    hard: int | None
    effective: int | None


class CheckAnswer(TypedDict):
    """The output of `l2m check --json` for one model: the judgement (see condition.Judgement), the length that decides
    it, the model and its state at `length` tokens, the requirement, and changes that would change the answer.
    by_length, fits, allotted: only if lengths, a memory, or the allocated bytes of a server are given.
    """

    enough_state: "Answer | None"
    growth_exponent: float
    asked_exponent: float
    growth: str
    required_growth: str
    meets_growth: bool
    meets_level: bool | None
    level_slack: dict[str, float] | None
    reach_tokens: Reached
    decided_at: int | None
    capacity_nats: Interval | None
    required_nats: Interval | None
    state_elements: int
    state_bytes: int
    bytes_per_token: float
    length: int
    dtype: str
    dtypes: HeldIn
    runtime: str
    runtime_version: str | None
    earlier_versions: list[Earlier]
    layers: "list[Layer]"
    parameters: int
    active_parameters: int
    notes: list[str]
    demand: DemandAnswer
    meets: bool
    advice: list[str]
    change: Changes
    by_length: NotRequired["list[AtLength]"]
    fits: NotRequired["Fits"]
    allotted: NotRequired["Allotted"]


def answer(
    subject: "Subject",
    demand: "Demand",
    requirement: "Requirement",
    lengths: list[int],
    memory: "Memory | None" = None,
    batch: int = 1,
) -> CheckAnswer:
    """Return the JSON of one model. batch: number of sequences in memory or on the server at once."""
    from l2m_design.advice.by_length import by_length

    verdict, terms = demand.judge(subject.state), demand.terms
    judged, enough = verdict.judgement, verdict.enough
    slack = judged.level_slack
    advice, change = _advised(subject, demand, verdict.met)
    found: CheckAnswer = {
        "enough_state": judged.enough_state,
        "growth_exponent": judged.growth_exponent,
        "asked_exponent": judged.asked_exponent,
        "growth": judged.growth,
        "required_growth": judged.required_growth,
        "meets_growth": judged.meets_growth,
        "meets_level": judged.meets_level,
        "level_slack": None if slack is None else {str(at): slack[at] for at in slack},
        "reach_tokens": {"hard": judged.reach_tokens.hard, "effective": judged.reach_tokens.effective},
        "decided_at": enough.length if enough else None,
        "capacity_nats": _interval(*enough.capacity) if enough else None,
        "required_nats": _estimate(enough.required) if enough else None,
        "state_elements": subject.state.elements(terms.length),
        "state_bytes": subject.state.bytes(terms.length, terms.dtypes),
        "bytes_per_token": subject.state.bytes_per_token(terms.length, terms.dtypes),
        "length": terms.length,
        "dtype": terms.dtype,
        "dtypes": _dtypes(subject.state, terms.dtypes),
        "runtime": subject.runtime,
        "runtime_version": subject.version,
        "earlier_versions": _earlier(subject, terms.length, terms.dtypes),
        "layers": subject.layers,
        "parameters": subject.parameters,
        "active_parameters": subject.active_parameters,
        "notes": subject.notes,
        "demand": _requirement(requirement, demand),
        "meets": verdict.met,
        "advice": advice,
        "change": change,
    }
    _serve(found, subject, terms, memory, batch)
    if rows := by_length(subject.stack, subject.width, subject.dimensions, demand, lengths):
        found["by_length"] = rows
    return found


def _requirement(requirement: "Requirement", demand: "Demand") -> DemandAnswer:
    terms = demand.terms
    return {
        "source": requirement.source,
        "unit": requirement.unit,
        "bytes_per_token": requirement.bytes_per_token,
        "beta": demand.law.beta.plain() if demand.law.form == "power" else None,
        "law": demand.law.formula(),
        "nats_per_element": terms.nats_per_element,
        "nats_by_kind": terms.nats_by_kind,
        "nats_range": terms.nats_range,
        "end": terms.end,
    }


def _advised(subject: "Subject", demand: "Demand", met: bool) -> tuple[list[str], Changes]:
    """State by layer type, and changes that would change the answer, in sentences and as JSON."""
    from l2m_design.advice import advise, then
    from l2m_design.advice.practice import practised
    from l2m_design.report.advice import advice, state_by_type

    changes = advise(subject.stack, demand)
    later = then(subject.stack, demand, changes)
    practice = practised(subject.stack, demand) if met else None
    return advice(subject.stack, subject.kinds, demand, changes), {
        "pays": state_by_type(subject.stack, subject.kinds, demand),
        "options": [change.plain(demand) for change in changes],
        "then": later.plain(demand) if later else None,
        "practised": practice.plain(demand) if practice else None,
    }


def _interval(low: float, value: float, high: float) -> Interval:
    return {"low": low, "value": value, "high": high}


def _estimate(found: "Estimate") -> Interval:
    return {"value": found.value, "low": found.low, "high": found.high, "level": found.level}


def _dtypes(state: "StateLaw", dtypes: "Dtypes") -> HeldIn:
    cache, other = (list(state.dtypes_in(dtypes, cached)) for cached in (True, False))
    return {"model": dtypes.model, "kv_cache": cache, "state": other}


def _serve(found: CheckAnswer, subject: "Subject", terms: "Terms", memory: "Memory | None", batch: int) -> None:
    """Add the longest context that fits in memory and the bytes that a server allocates, if they are given."""
    from l2m_design.library.allotted import allotted

    dtypes = terms.dtypes
    if memory:
        found["fits"] = memory.plain(subject.state, dtypes, subject.allot)
    if subject.allot:
        allotment = subject.allot(terms.length, dtypes, batch)
        found["allotted"] = allotted(allotment, subject.runtime, subject.state, terms.length, dtypes, batch)


def _earlier(subject: "Subject", length: int, dtypes: "Dtypes") -> list[Earlier]:
    """Return the state in earlier versions of the runtime, if it is known to differ."""
    if subject.earlier is None:
        return []
    state = subject.earlier.state
    return [
        {
            "version": subject.earlier.version,
            "state_elements": state.elements(length),
            "state_bytes": state.bytes(length, dtypes),
            "bytes_per_token": state.bytes_per_token(length, dtypes),
        }
    ]


def check_plot(path: Path) -> None:
    """Raises BadInput if the ending of the file name is not that of a supported picture."""
    from l2m_design.report.picture import check_ending

    check_ending(path)


def draw(path: Path, models: "dict[str, Subject]", demand: "Demand", longest: int, results: list[CheckAnswer]) -> None:
    """Draw the states of the models, by name, against the requirement, up to `longest` tokens."""
    from l2m_design.report import supply
    from l2m_design.report.words import constant

    states = {name: subject.state for name, subject in models.items()}
    kinds = tuple({kind: None for state in states.values() for kind in state.kinds})
    supply.draw(path, states, demand, longest, results, constant(demand.terms, kinds))
