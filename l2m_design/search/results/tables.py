"""The rows of a study's tables: trials and finalists beside the reference."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand
from l2m_design.search.record import Record, meets
from l2m_design.search.results import choice, finalists
from l2m_design.search.results.choice import Contender
from l2m_design.search.results.finalists import FinalRun
from l2m_design.search.results.paired import Gap, Losses, gap
from l2m_design.search.results.values import AtLength, Finalist, TrialRow
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.known import PATTERNS, REFERENCE
from l2m_design.training.result import Result, effective_context, interval_of_mean, paired_difference

LOG2 = float(np.log(2))


def trial_row(record: Record, reference: Record | None) -> TrialRow:
    """A line about a trial, beside the reference."""
    outcome, rival, found = record.outcome, reference.outcome if reference else None, record.judgement
    paired = (
        paired_difference(outcome.test_late_by_document, rival.test_late_by_document) if outcome and rival else None
    )
    gains, reached = gains_from(outcome) if outcome else ({}, None)
    return TrialRow(
        trial=record.number,
        design=record.design,
        picture=record.picture,
        architecture=record.drawing,
        fingerprint=record.fingerprint,
        parameters=record.parameters,
        state=record.state,
        feasible=record.feasible,
        objective=record.value,
        loss=record.late_loss,
        rate=record.rate,
        test_loss=interval_of_mean(np.array(outcome.test_late_by_document)) if outcome else None,
        difference=paired,
        mi_captured_nats=outcome.mi_captured_nats if outcome else None,
        state_bytes=record.state_bytes,
        growth_exponent=found.growth_exponent,
        meets_growth=found.meets_growth,
        meets_level=found.meets_level,
        reach_tokens=found.reach_tokens,
        reason=record.reason,
        decode_ms=outcome.decode_ms if outcome else None,
        context_gain=gains,
        effective_context=reached,
        kernels=outcome.kernels if outcome else [],
    )


def gains_from(outcome: Result) -> tuple[dict[int, Gap], int | None]:
    """What a run gains from far context, and its effective context, see gains_of; none where it was not measured."""
    own = outcome.seed
    cut = {int(c): {own: losses} for c, losses in outcome.test_late_by_context.items()}
    return gains_of({own: outcome.test_late_by_document}, cut)


def baselines(records: Iterable[Record]) -> list[Record]:
    """The baselines, trained whether feasible or not: of each the learning rate of the least loss."""
    own = [r for r in records if r.design]
    best: dict[str, Record] = {}
    for record in own:
        known = best.get(record.design or "")
        better = record.late_loss is not None and (known is None or (known.late_loss or np.inf) > record.late_loss)
        if known is None or better:
            best[record.design or ""] = record
    return list(best.values())


def without_result(records: Iterable[Record]) -> dict[str, list[Record]]:
    """By name, the trials of each baseline none of which ended with a result."""
    own: dict[str, list[Record]] = {}
    for record in records:
        if record.design:
            own.setdefault(record.design, []).append(record)
    return {name: trials for name, trials in own.items() if not any(r.result for r in trials)}


def trial_contenders(records: Iterable[Record], context: int) -> list[Contender]:
    """Complete trials, feasible or not, each architecture once: one seed, compared on test documents."""
    done = [r for r in records if r.state == "complete" and r.copy_of is None and r.outcome]
    return [_of_trial(record, context) for record in done]


def _of_trial(record: Record, context: int) -> Contender:
    outcome = record.outcome
    assert outcome is not None
    cut = outcome.test_late_by_context.get(str(context))
    return Contender(
        trial_name(record),
        outcome.late_loss,
        {outcome.seed: outcome.test_late_by_document},
        record.state_bytes,
        record.feasible,
        {outcome.seed: cut} if cut else {},
        None if record.recall is None else record.recall / LOG2,
    )


def trial_name(record: Record) -> str:
    """What a choice among trials calls one."""
    return f"trial {record.number}" + (f" ({record.design})" if record.design else "")


@dataclass(frozen=True)
class Entered:
    """A finalist's line, and what comparisons are made of: by length, its late losses on test documents by seed, and by
    context those with the past cut.
    """

    row: Finalist
    losses: dict[int, Losses]
    cut: dict[int, dict[int, Losses]]

    def contender(self, length: int, context: int) -> Contender | None:
        """As the choice at a length and context sees it; none where it was not trained there."""
        if length not in self.losses:
            return None
        row, cut = self.row, self.cut[length].get(context, {})
        losses = self.losses[length]
        return Contender(row.name, row.picked_by, losses, row.state_bytes, row.feasible, cut, row.recall_bits)


def entered(runs: list[FinalRun], records: list[Record], demand: Demand, settings: StudySettings) -> list[Entered]:
    """The finalists, in the order of their runs; differences are from the reference of the study's choice."""
    by_name: dict[str, list[FinalRun]] = {}
    for run in runs:
        by_name.setdefault(run.job.name, []).append(run)
    picking = finalists.picking_runs(runs, settings.compared_at)
    losses = {name: run.result.late_loss for name, run in picking.items() if run.result}
    reference = by_name.get(reference_name(losses, settings) or "", [])
    recalled = {r.fingerprint: r.recall for r in records if r.recall is not None}
    beside = _Beside(reference, losses, recalled, demand, settings)
    return [_entered(name, own, beside) for name, own in by_name.items()]


@dataclass(frozen=True)
class _Beside:
    """What the line of a finalist is made of beside its own runs: the reference's, by name what picked each, and by
    fingerprint the excess of trials on the recall source.
    """

    reference: list[FinalRun]
    picked_by: Mapping[str, float]
    recalled: Mapping[str, float]
    demand: Demand
    settings: StudySettings


def _entered(name: str, own: list[FinalRun], beside: _Beside) -> Entered:
    demand, settings = beside.demand, beside.settings
    drawing = Architecture.parse(own[0].job.architecture, name)
    verdict = demand.judge(drawing.state)
    reached = {length: results for length in finalists.lengths(settings) if (results := confirming_seeds(own, length))}
    row = Finalist(
        name=name,
        known=name in PATTERNS,
        picture=drawing.picture,
        architecture=drawing,
        fingerprint=drawing.fingerprint,
        parameters=drawing.parameters,
        state_bytes=drawing.state.bytes(demand.terms.length, demand.terms.dtypes),
        feasible=meets(verdict, settings.search.enforce),
        growth_exponent=verdict.growth,
        meets_growth=verdict.meets_growth,
        meets_level=verdict.meets_level,
        reach_tokens=verdict.judgement.reach_tokens,
        failed=[run.reason for run in own if run.reason],
        picked_by=beside.picked_by.get(name),
        recall_bits=_recall_bits(own, beside.recalled.get(drawing.fingerprint)),
        lengths={
            length: _at_length(drawing, own, confirming_seeds(beside.reference, length), length, demand)
            for length in reached
        },
    )
    losses = {length: _test_losses(results) for length, results in reached.items()}
    return Entered(row, losses, {length: _cut_losses(results) for length, results in reached.items()})


def reference_name(picked_by: dict[str, float], settings: StudySettings) -> str | None:
    """The finalist with which others are compared: the best by the seed that picks, or the one that is named."""
    asked = settings.choice.reference
    if asked == choice.BEST:
        return min(picked_by, key=lambda name: picked_by[name], default=None)
    return REFERENCE if asked == choice.FULL else asked


def _recall_bits(own: list[FinalRun], trial: float | None) -> float | None:
    """Excess over Bayes on the recall source, bits per scored token: the finalist's own run, else its trial's."""
    for run in own:
        if run.job.task == finalists.RECALL and run.result and run.result.late_excess_nats is not None:
            return run.result.late_excess_nats / LOG2
    return None if trial is None else trial / LOG2


def confirming_seeds(runs: list[FinalRun], length: int) -> dict[int, Result]:
    """Results by fresh seed at a length, at the learning rate that the seed which picks has picked."""
    own = [run for run in finalists.on_corpus(runs) if run.result]
    tuned = finalists.best_rates(own, min((run.job.length for run in own), default=length))
    rates = set(tuned.values())
    fresh = [run for run in own if run.job.length == length and run.job.seed != finalists.PICKS]
    found = {run.job.seed: run.result for run in fresh if run.job.rate in rates and run.result}
    return dict(sorted(found.items()))


def _test_losses(results: Mapping[int, Result]) -> Losses:
    """By seed, late losses by test document."""
    return {seed: r.test_late_by_document for seed, r in results.items()}


def _cut_losses(results: Mapping[int, Result]) -> dict[int, Losses]:
    """By context in tokens, the same with the past cut to it, where every seed measured it."""
    measured = set.intersection(*(set(r.test_late_by_context) for r in results.values()))
    return {int(c): {seed: r.test_late_by_context[c] for seed, r in results.items()} for c in sorted(measured, key=int)}


def _at_length(
    drawing: Architecture, own: list[FinalRun], rivals: Mapping[int, Result], length: int, demand: Demand
) -> AtLength:
    """What a finalist reached at a context length, beside the reference's results by seed."""
    results, n = confirming_seeds(own, length), length // 2
    captured = float(np.mean([r.mi_captured_nats for r in results.values()]))
    excess = [r.late_excess_nats for r in results.values() if r.late_excess_nats is not None]
    test, first = _test_losses(results), next(iter(results.values()))
    gains, reached = gains_of(test, _cut_losses(results))
    return AtLength(
        seeds=len(results),
        learning_rate=next((run.job.rate for run in own if run.result is first), 1.0),
        loss=float(np.mean([r.late_loss for r in results.values()])),
        loss_by_seed=[r.late_loss for r in results.values()],
        test_loss=float(np.mean([r.test_late_loss for r in results.values()])),
        test_interval=interval_of_mean(np.mean(list(test.values()), axis=0)),
        difference=gap(test, _test_losses(rivals)),
        context_gain=gains,
        effective_context=reached,
        context_seconds=float(np.mean([r.context_seconds for r in results.values()])),
        late_excess_bits=float(np.mean(excess)) / LOG2 if excess else None,
        late_excess_bits_by_seed=[x / LOG2 for x in excess],
        excess_difference_bits=gap(_excess_bits(results), _excess_bits(rivals)),
        mi_captured_nats=captured,
        corpus_nats=demand.law.at(n) if demand.has_level else None,
        nats_per_element=captured / max(1, drawing.state.elements(n)),
        seconds=float(np.mean([r.train_seconds + r.evaluate_seconds for r in results.values()])),
    )


def gains_of(whole: Losses, cut: Mapping[int, Losses]) -> tuple[dict[int, Gap], int | None]:
    """What far context gains on the same tokens, nats per token by context, and the effective context in tokens."""
    gains = {c: found for c, losses in cut.items() if (found := gap(losses, whole))}
    return gains, effective_context(gains) if gains else None


def _excess_bits(results: Mapping[int, Result]) -> Losses:
    """By seed, bits a fact above Bayes by test document, where the corpus knows it."""
    known = {seed: r.test_late_excess_by_document for seed, r in results.items()}
    return {seed: [x / LOG2 for x in excess] for seed, excess in known.items() if excess is not None}
