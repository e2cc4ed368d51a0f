"""The summary of a study: everything its report, its card and its readers need, JSON-ready."""

import math
from dataclasses import asdict
from typing import Any

from l2m_design import __version__
from l2m_design.condition import Demand
from l2m_design.corpus import Corpus
from l2m_design.search.record import Record
from l2m_design.search.results import finalists, tables
from l2m_design.search.results.choice import BEST, Choice, Comparison, Rule, choose
from l2m_design.search.results.finalists import FinalRun
from l2m_design.search.results.ladder import ladder
from l2m_design.search.results.tradeoff import tradeoff
from l2m_design.search.settings import StudySettings
from l2m_design.search.study.ledger import Ledger

FAR, LEAST_GAIN = (
    16,
    0.01,
)  # a model uses context if it gains so much, nats a token, from beyond this part of the window
BY_DOCUMENT = ("test_by_seed", "cut_by_seed")


def summarise(
    ledger: Ledger, corpus: Corpus, measurement: dict[str, Any] | None, wall_seconds: float
) -> dict[str, Any]:
    """A study's summary from its ledger."""
    descriptor = ledger.descriptor
    settings = descriptor.settings
    runs = ledger.runs(finalists.final_recipe(settings).fingerprint) if settings.finalists else []
    found = outcome(settings, descriptor.demand, ledger.records.all, runs, wall_seconds)
    return found | {
        "demand": {
            "law": descriptor.demand.law.plain(),
            "has_level": descriptor.demand.has_level,
            "terms": descriptor.demand.terms.plain(),
            "exponent": descriptor.demand.exponent,
            "measurement": measurement,
        },
        "settings": settings.public(),
        "space": descriptor.space.plain(),
        "corpus": descriptor.corpus,
        "rejected_unasked": sum(record.rejected for record in ledger.records.all),
        "notes": [*corpus.notes, *notes(ledger.records.all, runs, settings)],
    }


def outcome(
    settings: StudySettings, demand: Demand, every: list[Record], runs: list[FinalRun], wall_seconds: float
) -> dict[str, Any]:
    """What was found; trials counts each drawing once, duplicates those answered from an earlier trial."""
    reference = finalists.reference_of(every, settings.choice.reference)
    own = [r for r in every if r.copy_of is None]
    rows = tables.finalist_rows(runs, every, demand, settings) if settings.finalists else []
    asked_for = str(settings.compared_at)
    length = settings.compared_at if any(asked_for in row["lengths"] for row in rows) else None
    contenders = (
        tables.finalist_contenders(rows, length, settings.context)
        if length
        else tables.trial_contenders(every, settings.context)
    )
    rule = _rule(settings, confirming=bool(length))
    name = tables.trial_name(reference) if reference else None
    if length:
        name = tables.reference_name({row["name"]: row["picked_by"] for row in rows if row["picked_by"]}, settings)
    made = choose(contenders, next((one for one in contenders if one.name == name), None), rule)
    if length:
        chosen = _chosen_finalist(made.chosen, rows, every, reference, length)
    else:
        picked = next((r for r in every if tables.trial_name(r) == made.chosen), None)
        chosen = tables.trial_row(picked, reference) if picked else None
    asked = [r for r in every if r.design is None]
    shown = [row["lengths"][str(length)] for row in rows if str(length) in row["lengths"]] if length else [
        tables.trial_row(r, reference) for r in every if r.outcome
    ]  # fmt: skip
    return {
        "study": settings.name,
        "version": __version__,
        "trials": {
            state: sum(r.state == state for r in own) for state in ("complete", "pruned", "infeasible", "failed")
        },
        "duplicates": len(every) - len(own),
        "asked": {"drawings": len(asked), "feasible": sum(r.state != "infeasible" for r in asked)},
        "chosen": chosen,
        "reference": made.reference,
        "verdict": made.verdict,
        "effective_context": chosen["effective_context"] if chosen else None,
        "context_gain": chosen["context_gain"] if chosen else {},
        "uses_context": _gains_from(shown, (length or settings.recipe.length) // FAR),
        "gains_at_context": _gains_from(shown, settings.context),
        "trial_reference": tables.trial_name(reference) if reference else None,
        "choice": _choice(made, rule, settings, length),
        "tradeoff": tradeoff(contenders),
        "front": [tables.trial_row(r, reference) for r in finalists.front(every)],
        "baselines": [tables.trial_row(r, reference) for r in tables.baselines(every)],
        "finalists": [{**row, "lengths": _without_documents(row["lengths"])} for row in rows],
        "ladder": ladder(every, finalists.on_corpus(runs), length),
        "seconds": _seconds(every, runs, wall_seconds, settings.workers),
        "records": [asdict(r) for r in every],
    }


def _choice(made: Choice, rule: Rule, settings: StudySettings, length: int | None) -> dict[str, Any]:
    """How the choice was made, JSON-ready; length: the finalists' window, if there are any."""
    return {
        "among": "finalists" if length else "trials",
        "length": length or settings.recipe.length,
        "context": settings.context,
        "recipe": _recipe(settings, length),
        "delta": rule.delta,
        "confidence": rule.confidence,
        "recall": rule.recall,
        "said": made.reasons,
        "standings": {
            name: {"rival": found.rival, "p": found.p, **_compared(found.comparison)}
            for name, found in made.standings.items()
        },
        "confirmed": made.confirmed,
        "worse": made.worse,
        "comparisons": {name: _compared(found) for name, found in made.comparisons.items()},
    }


def _rule(settings: StudySettings, confirming: bool) -> Rule:
    """Among finalists, else among trials, where nothing can be confirmed."""
    asked, larger = settings.choice, "finalists.tokens" if confirming else "recipe.tokens"
    named = asked.reference != BEST
    return Rule(asked.delta, asked.confidence, confirming, asked.recall, f"a larger {larger}", named)


def _compared(found: Comparison) -> dict[str, Any]:
    """A comparison with another model, JSON-ready."""
    return {
        "difference": found.loss.plain(),
        "lost_gain": found.lost_gain.plain() if found.lost_gain else None,
    }


def _gains_from(shown: list[dict[str, Any]], context: int) -> bool | None:
    """Does any model gain LEAST_GAIN or more, beyond chance, from beyond so many tokens? None where that was not
    measured.
    """
    gains = [(int(c), gain) for row in shown for c, gain in row["context_gain"].items()]
    far = [gain for c, gain in gains if c >= context]
    return any(gain["low"] > 0 and gain["value"] >= LEAST_GAIN for gain in far) if far else None


def _chosen_finalist(
    name: str | None, rows: list[dict[str, Any]], every: list[Record], reference: Record | None, length: int
) -> dict[str, Any] | None:
    """The chosen finalist as a trial's row, with the losses of its longer training."""
    row = next((row for row in rows if row["name"] == name), None)
    if row is None:
        return None
    trials = [r for r in every if r.fingerprint == row["fingerprint"] and r.copy_of is None]
    trial = min(trials, key=lambda r: r.late_loss if r.late_loss is not None else math.inf, default=None)
    base = tables.trial_row(trial, reference) if trial else {"trial": None, "test_loss": None, "state": "complete"}
    at = row["lengths"][str(length)]
    own = {key: row[key] for key in row if key not in ("lengths", "name", "known", "failed")}
    return base | own | {
        "design": name if row["known"] or trial is None else base.get("design"),
        "loss": at["loss"],
        "test_loss": at["test_interval"],
        "rate": at["learning_rate"],
        "difference": at["difference"],
        "mi_captured_nats": at["mi_captured_nats"],
        "context_gain": at["context_gain"],
        "effective_context": at["effective_context"],
        "seeds": at["seeds"],
        "reason": None,
    }  # fmt: skip


def _recipe(settings: StudySettings, length: int | None) -> dict[str, Any]:
    """By what the contenders were trained, but for learning rate and seed."""
    if length is None:
        return settings.recipe.plain()
    return finalists.FinalJob("", {}, length, 1.0, finalists.PICKS + 1).recipe(finalists.final_recipe(settings)).plain()


def _without_documents(lengths: dict[str, Any]) -> dict[str, Any]:
    return {at: {k: v for k, v in found.items() if k not in BY_DOCUMENT} for at, found in lengths.items()}


def notes(every: list[Record], runs: list[FinalRun], settings: StudySettings) -> list[str]:
    """What a reader of the tables must know: failed runs, what was not kept, windows that training saw as none."""
    said = [f"trial {r.number} ({r.design or r.picture}) failed: {r.reason}" for r in every if r.state == "failed"]
    said += [f"{run.job.name} (seed {run.job.seed}) failed: {run.reason}" for run in runs if run.result is None]
    said += sorted({r.note for r in every if r.note})
    if edge := _at_the_edge(runs, settings):
        said.append(f"the best learning rate is at the edge of what was tried (finalists.rates): {', '.join(edge)}")
    length = settings.recipe.length
    if any((layer.get("window") or 0) >= length for r in every for layer in r.architecture["layers"]):
        said.append(
            f"windows of {length} tokens and more were trained as full attention is: recipe.length is {length}, so "
            "their losses say nothing of longer contexts"
        )
    return said


def _at_the_edge(runs: list[FinalRun], settings: StudySettings) -> list[str]:
    """Finalists whose best learning rate is the least or the largest of three or more."""
    asked = settings.finalists
    if asked is None or len(asked.rates) < 3:
        return []
    best = finalists.best_rates(runs, finalists.lengths(settings)[0])
    return [name for name, rate in best.items() if rate in (min(asked.rates), max(asked.rates))]


def _seconds(every: list[Record], runs: list[FinalRun], total: float, workers: int) -> dict[str, float]:
    """Of the whole study, earlier sittings included: wall time, training, evaluating, what workers spent besides."""
    own = [r for r in every if r.copy_of is None]
    outcomes = [r.outcome for r in own if r.outcome] + [run.result for run in runs if run.result]
    training = sum(o.train_seconds for o in outcomes) + sum(r.recall_seconds for r in own)
    training += sum(r.stopped_seconds for r in own if r.state == "pruned")
    training += sum(max(0.0, r.seconds - r.recall_seconds) for r in own if r.state == "failed")
    evaluating = sum(o.evaluate_seconds for o in outcomes)
    parts = {"total": total, "training": training, "evaluating": evaluating}
    overhead = max(0.0, total * workers - training - evaluating)
    return {k: round(v, 1) for k, v in parts.items()} | {"overhead": round(overhead, 1)}


def study_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """What the study's own run shows in the tracking store."""
    metrics = {f"trials_{state}": float(count) for state, count in summary["trials"].items()}
    metrics |= {f"seconds_{part}": value for part, value in summary["seconds"].items()}
    if chosen := summary["chosen"]:
        metrics |= {"chosen_late_loss": chosen["loss"], "chosen_state_bytes": float(chosen["state_bytes"])}
    return metrics
