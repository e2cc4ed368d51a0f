"""What `l2m check` answers of one model, as JSON says it, and its picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2m_design.condition import Demand
    from l2m_design.laws import Dtypes, StateLaw
    from l2m_design.library.demand import Asked
    from l2m_design.library.fits import Memory
    from l2m_design.library.subject import Subject
    from l2m_design.terms import Terms


def answer(
    subject: "Subject",
    demand: "Demand",
    asked: "Asked",
    lengths: list[int],
    memory: "Memory | None" = None,
    batch: int = 1,
) -> dict[str, Any]:
    """What the JSON says of one model; by_length where lengths are asked for, fits where a memory is, allotted (for a
    batch of sequences) where a server's allotment is counted.
    """
    from l2m_design.advice.by_length import by_length

    verdict, terms = demand.judge(subject.state), demand.terms
    rows = by_length(subject.stack, subject.width, subject.dimensions, demand, lengths)
    nothing = dict.fromkeys(("decided_at", "capacity_nats", "required_nats"))
    return (
        verdict.plain()
        | (verdict.enough.plain() if verdict.enough else nothing)
        | _held(subject, terms)
        | {"demand": _asked(asked, demand), "meets": verdict.met}
        | _advised(subject, demand, verdict.met)
        | _served(subject, terms, memory, batch)
        | ({"by_length": rows} if rows else {})
    )


def _held(subject: "Subject", terms: "Terms") -> dict[str, Any]:
    """The model, and its state at the judged length."""
    return {
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
    }


def _asked(asked: "Asked", demand: "Demand") -> dict[str, Any]:
    """The demand, and where it comes from."""
    terms = demand.terms
    return {
        "source": asked.source,
        "unit": asked.unit,
        "bytes_per_token": asked.bytes_per_token,
        "beta": demand.law.beta.plain() if demand.law.form == "power" else None,
        "law": demand.law.formula(),
        "nats_per_element": terms.nats_per_element,
        "nats_by_kind": terms.nats_by_kind,
        "nats_range": terms.nats_range,
        "end": terms.end,
    }


def _advised(subject: "Subject", demand: "Demand", met: bool) -> dict[str, Any]:
    """Which layers pay, and what would change the answer."""
    from l2m_design.advice import advise, then
    from l2m_design.advice.practice import practised
    from l2m_design.report.advice import advice, payers

    changes = advise(subject.stack, demand)
    later = then(subject.stack, demand, changes)
    practice = practised(subject.stack, demand) if met else None
    return {
        "advice": advice(subject.stack, subject.kinds, demand, changes),
        "change": {
            "pays": payers(subject.stack, subject.kinds, demand),
            "options": [change.plain(demand) for change in changes],
            "then": later.plain(demand) if later else None,
            "practised": practice.plain(demand) if practice else None,
        },
    }


def _dtypes(state: "StateLaw", dtypes: "Dtypes") -> dict[str, Any]:
    """The model's dtype, and those that the parts of its state are held in."""
    cache, other = (state.held_in(dtypes, cached) for cached in (True, False))
    return {"model": dtypes.model, "kv_cache": cache, "state": other}


def _served(subject: "Subject", terms: "Terms", memory: "Memory | None", batch: int) -> dict[str, Any]:
    """What fits into a memory, and what a server allots, where either is asked for."""
    from l2m_design.library.allotted import allotted

    said, dtypes = {}, terms.dtypes
    if memory:
        said["fits"] = memory.plain(subject.state, dtypes, subject.allot)
    if subject.allot:
        found = subject.allot(terms.length, dtypes, batch)
        said["allotted"] = allotted(found, subject.runtime, subject.state, terms.length, dtypes, batch)
    return said


def _earlier(subject: "Subject", length: int, dtypes: "Dtypes") -> list[dict[str, Any]]:
    """JSON-ready: what earlier versions of the runtime hold, where that is known to differ."""
    if subject.earlier is None:
        return []
    state = subject.earlier.state
    held = {"state_elements": state.elements(length), "state_bytes": state.bytes(length, dtypes)}
    return [{"version": subject.earlier.version} | held | {"bytes_per_token": state.bytes_per_token(length, dtypes)}]


def check_plot(path: Path) -> None:
    """Raises BadInput when the ending of a plot's name names no kind of picture."""
    from l2m_design.report.picture import check_ending

    check_ending(path)


def draw(
    path: Path, models: "dict[str, Subject]", demand: "Demand", longest: int, results: list[dict[str, Any]]
) -> None:
    """The picture of the models, by name, over the demand, up to `longest` tokens."""
    from l2m_design.report import supply
    from l2m_design.report.words import constant

    states = {name: subject.state for name, subject in models.items()}
    kinds = tuple({kind: None for state in states.values() for kind in state.kinds})
    supply.draw(path, states, demand, longest, results, constant(demand.terms, kinds))
