"""The summary of a study: everything its report, its card and its readers need, JSON-ready."""

from dataclasses import asdict
from typing import Any

from l2m_design import __version__
from l2m_design.condition import Demand
from l2m_design.corpus import Corpus
from l2m_design.search import finalists
from l2m_design.search.record import Records
from l2m_design.search.settings import StudySettings
from l2m_design.search.space import Space


def summarise(
    settings: StudySettings,
    space: Space,
    corpus: Corpus,
    demand: Demand,
    measurement: dict[str, Any] | None,
    records: Records,
    wall_seconds: float,
) -> dict[str, Any]:
    """A study's summary; trials counts each drawing once, duplicates how many were answered from an earlier trial."""
    every = records.all
    reference = finalists.reference_of(every)
    chosen = finalists.choose(every)
    own = [r for r in every if r.copy_of is None]
    return {
        "study": settings.name,
        "version": __version__,
        "trials": {
            state: sum(r.state == state for r in own) for state in ("complete", "pruned", "infeasible", "failed")
        },
        "duplicates": len(every) - len(own),
        "chosen": finalists.row(chosen, reference) if chosen else None,
        "front": [finalists.row(r, reference) for r in finalists.front(every)],
        "baselines": [finalists.row(r, reference) for r in finalists.baselines(every)],
        "seconds": _seconds(records, wall_seconds),
        "demand": {
            "law": demand.law.plain(),
            "has_level": demand.has_level,
            "terms": demand.terms.plain(),
            "exponent": demand.exponent,
            "measurement": measurement,
        },
        "settings": settings.plain(),
        "space": space.plain(),
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint, "vocabulary": corpus.vocabulary},
        "records": [asdict(r) for r in every],
        "notes": [*corpus.notes, *_notes(records, settings.recipe.length)],
    }


def _notes(records: Records, length: int) -> list[str]:
    """What a reader of the tables must know: failed trials, windows that training could not tell from none."""
    notes = [
        f"trial {r.number} ({r.design or r.picture}) failed: {r.reason}" for r in records.all if r.state == "failed"
    ]
    if any((layer.get("window") or 0) >= length for r in records.all for layer in r.architecture["layers"]):
        notes.append(
            f"windows of {length} tokens and more were trained as full attention is: recipe.length is {length}, so "
            "their losses say nothing of longer contexts"
        )
    return notes


def _seconds(records: Records, total: float) -> dict[str, float]:
    """Of the whole study, earlier sittings included: total, training, evaluating, the rest."""
    own = [r for r in records.all if r.copy_of is None]
    outcomes = [r.outcome for r in own if r.outcome]
    unfinished = sum(r.seconds for r in own if r.state in ("pruned", "failed"))
    training = sum(o.train_seconds for o in outcomes) + unfinished
    evaluating = sum(o.evaluate_seconds for o in outcomes)
    parts = {"total": total, "training": training, "evaluating": evaluating}
    return {k: round(v, 1) for k, v in parts.items()} | {"overhead": round(total - training - evaluating, 1)}


def study_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """What the study's own run shows in the tracking store."""
    metrics = {f"trials_{state}": float(count) for state, count in summary["trials"].items()}
    metrics |= {f"seconds_{part}": value for part, value in summary["seconds"].items()}
    if chosen := summary["chosen"]:
        metrics |= {"chosen_late_loss": chosen["loss"], "chosen_state_bytes": float(chosen["state_bytes"])}
    return metrics
