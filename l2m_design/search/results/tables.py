"""The rows of a study's tables, JSON-ready: trials and finalists beside full attention."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand
from l2m_design.search.record import Record, meets
from l2m_design.search.results import choice
from l2m_design.search.results.choice import Choice, Contender
from l2m_design.search.results.finalists import FinalRun, eligible
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.known import PATTERNS, REFERENCE
from l2m_design.training.result import Result, interval_of_mean, paired_difference

LOG2 = float(np.log(2))


def trial_row(record: Record, reference: Record | None) -> dict[str, Any]:
    """A line about a trial.

    loss: late loss on validation documents. test_loss: on test documents, with interval; difference: test
    loss minus full attention's, paired over documents. Losses in nats a token.
    """
    outcome, rival = record.outcome, reference.outcome if reference else None
    test = interval_of_mean(np.array(outcome.test_late_by_document)) if outcome else None
    paired = (
        paired_difference(outcome.test_late_by_document, rival.test_late_by_document) if outcome and rival else None
    )
    return {
        "trial": record.number,
        "design": record.design,
        "picture": record.picture,
        "architecture": record.architecture,
        "fingerprint": record.fingerprint,
        "parameters": record.parameters,
        "state": record.state,
        "feasible": record.feasible,
        "objective": record.value,
        "loss": record.late_loss,
        "rate": record.rate,
        "test_loss": test.plain() if test else None,
        "difference": paired.plain() if paired else None,
        "mi_captured_nats": outcome.mi_captured_nats if outcome else None,
        "state_bytes": record.state_bytes,
        "growth_exponent": record.verdict["growth_exponent"],
        "meets_growth": record.verdict["meets_growth"],
        "meets_level": record.verdict["meets_level"],
        "reach_tokens": record.verdict["reach_tokens"],
        "reason": record.reason,
        "decode_ms": outcome.decode_ms if outcome else None,
    }


def baselines(records: Iterable[Record]) -> list[Record]:
    """The known designs, trained whether feasible or not: of each the learning rate of the least loss."""
    own = [r for r in records if r.design]
    best: dict[str, Record] = {}
    for record in own:
        known = best.get(record.design or "")
        better = record.late_loss is not None and (known is None or (known.late_loss or np.inf) > record.late_loss)
        if known is None or better:
            best[record.design or ""] = record
    return list(best.values())


def choose_trial(records: list[Record], reference: Record | None, settings: StudySettings) -> Choice:
    """The choice among trials: one seed each, paired over validation documents."""
    contenders = [_of_trial(record) for record in eligible(records)]
    rival = _of_trial(reference) if reference else None
    return choice.choose(
        contenders, rival, settings.choice.delta, settings.choice.confidence, "finalists, a larger recipe.tokens"
    )


def _of_trial(record: Record) -> Contender:
    assert record.result is not None
    losses = {int(record.result["seed"]): record.result["late_by_document"]}
    return Contender(trial_name(record), losses, record.state_bytes, record.feasible)


def trial_name(record: Record) -> str:
    """What a choice among trials calls one."""
    return f"trial {record.number}" + (f" ({record.design})" if record.design else "")


def finalist_rows(runs: list[FinalRun], demand: Demand, settings: StudySettings) -> list[dict[str, Any]]:
    """A line a finalist: its law and verdict, and by length what its seeds reached at the best learning rate."""
    by_name: dict[str, list[FinalRun]] = {}
    for run in runs:
        by_name.setdefault(run.job.name, []).append(run)
    reference = by_name.get(REFERENCE, [])
    rows = []
    for name, own in by_name.items():
        drawing = Architecture.parse(own[0].job.architecture, name)
        verdict = demand.judge(drawing.state)
        rows.append(
            {
                "name": name,
                "known": name in PATTERNS,
                "picture": drawing.picture,
                "architecture": drawing.plain(),
                "fingerprint": drawing.fingerprint,
                "parameters": drawing.parameters,
                "state_bytes": drawing.state.bytes(demand.terms.length, demand.terms.dtype),
                "feasible": meets(verdict, settings.search.enforce),
                "growth_exponent": verdict.growth,
                "meets_growth": verdict.meets_growth,
                "meets_level": verdict.meets_level,
                "reach_tokens": verdict.plain()["reach_tokens"],
                "failed": [run.reason for run in own if run.reason],
                "lengths": {
                    str(length): _at_length(drawing, own, reference, length, demand)
                    for length in sorted({run.job.length for run in own if run.result})
                    if _seeds(own, length)
                },
            }
        )
    return rows


def _seeds(runs: list[FinalRun], length: int) -> dict[int, Result]:
    """Results by seed of the learning rate with the most seeds at a length, then the least loss."""
    by_rate: dict[float, dict[int, Result]] = {}
    for run in runs:
        if run.result and run.job.length == length:
            by_rate.setdefault(run.job.rate, {})[run.job.seed] = run.result
    if not by_rate:
        return {}
    best = min(by_rate.values(), key=lambda own: (-len(own), np.mean([r.late_loss for r in own.values()])))
    return dict(sorted(best.items()))


def _at_length(
    drawing: Architecture, own: list[FinalRun], reference: list[FinalRun], length: int, demand: Demand
) -> dict[str, Any]:
    """What a finalist reached at a context length; information in nats at n = length / 2.

    test_interval: of the test loss, documents resampled. difference, excess_difference_bits: from full attention,
    paired over test documents and seeds; late_excess_bits and its difference are above Bayes, in bits a fact.
    """
    results, rivals = _seeds(own, length), _seeds(reference, length)
    n = length // 2
    captured = float(np.mean([r.mi_captured_nats for r in results.values()]))
    excess = [r.late_excess_nats for r in results.values() if r.late_excess_nats is not None]
    test = {seed: r.test_late_by_document for seed, r in results.items()}
    first = next(iter(results.values()))
    return {
        "seeds": len(results),
        "learning_rate": next((run.job.rate for run in own if run.result is first), 1.0),
        "loss": float(np.mean([r.late_loss for r in results.values()])),
        "loss_by_seed": [r.late_loss for r in results.values()],
        "test_loss": float(np.mean([r.test_late_loss for r in results.values()])),
        "test_interval": interval_of_mean(np.mean(list(test.values()), axis=0)).plain(),
        "difference": _paired(test, {seed: r.test_late_by_document for seed, r in rivals.items()}),
        "validation_by_seed": {seed: r.late_by_document for seed, r in results.items()},
        "late_excess_bits": float(np.mean(excess)) / LOG2 if excess else None,
        "late_excess_bits_by_seed": [x / LOG2 for x in excess],
        "excess_difference_bits": _paired(_excess_bits(results), _excess_bits(rivals)),
        "mi_captured_nats": captured,
        "corpus_nats": demand.law.at(n).plain() if demand.has_level else None,
        "nats_per_element": captured / max(1, drawing.state.elements(n)),
        "seconds": float(np.mean([r.train_seconds + r.evaluate_seconds for r in results.values()])),
    }


def _paired(ours: choice.Losses, theirs: choice.Losses) -> dict[str, Any] | None:
    found = choice.difference(ours, theirs)
    return found.plain() if found else None


def _excess_bits(results: dict[int, Result]) -> choice.Losses:
    """By seed, bits a fact above Bayes by test document, where the corpus knows it."""
    known = {seed: r.test_late_excess_by_document for seed, r in results.items()}
    return {seed: [x / LOG2 for x in excess] for seed, excess in known.items() if excess is not None}


def choose_finalist(rows: list[dict[str, Any]], length: int, settings: StudySettings) -> Choice:
    """The choice among finalists at the longest length, over seeds and validation documents."""
    contenders = [
        Contender(row["name"], row["lengths"][str(length)]["validation_by_seed"], row["state_bytes"], row["feasible"])
        for row in rows
        if str(length) in row["lengths"]
    ]
    reference = next((one for one in contenders if one.name == REFERENCE), None)
    return choice.choose(
        contenders, reference, settings.choice.delta, settings.choice.confidence, "a larger finalists.tokens"
    )
