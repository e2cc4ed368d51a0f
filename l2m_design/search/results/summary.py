"""The summary of a study: one path from what was searched and what became of it to `Summary`."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from l2m_design import __version__
from l2m_design.condition import Demand
from l2m_design.corpus import Corpus
from l2m_design.information.measured import Measured
from l2m_design.search.record import Record
from l2m_design.search.results import choice, finalists, tables
from l2m_design.search.results.choice import BEST, Choice, Comparison, Contender, Rule, choose
from l2m_design.search.results.finalists import FinalRun
from l2m_design.search.results.ladder import ladder
from l2m_design.search.results.tables import Entered
from l2m_design.search.results.tradeoff import tradeoff
from l2m_design.search.results.values import (
    Asked,
    AtLength,
    ChoiceMade,
    Chosen,
    ComparisonRow,
    CorpusFacts,
    Counts,
    DemandRow,
    Finalist,
    Seconds,
    StandingRow,
    Summary,
    TrialRow,
)
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.space import Space
from l2m_design.search.study.ledger import Ledger
from l2m_design.training.recipe import Recipe

# a model uses context if it gains LEAST_GAIN, nats per token, from beyond a FAR-th of its window
FAR, LEAST_GAIN = 16, 0.01


@dataclass(frozen=True)
class Study:
    """What was searched. measurement: of the demand, none where it was given. told: what the corpus has to say."""

    settings: StudySettings
    space: Space
    demand: Demand
    corpus: CorpusFacts
    measurement: Measured | None = None
    told: Sequence[str] = ()

    @property
    def required(self) -> DemandRow:
        """The demand as the summary tells it."""
        demand = self.demand
        return DemandRow(
            law=demand.law,
            has_level=demand.has_level,
            terms=demand.terms,
            exponent=demand.exponent,
            measurement=self.measurement,
        )


def summarise(ledger: Ledger, corpus: Corpus, measurement: Mapping[str, Any] | None, wall_seconds: float) -> Summary:
    """A study's summary from its ledger."""
    known = ledger.descriptor
    runs = ledger.runs(finalists.final_recipe(known.settings).fingerprint) if known.settings.finalists else []
    measured = Measured.of_plain(measurement) if measurement else None
    study = Study(known.settings, known.space, known.demand, CorpusFacts(**known.corpus), measured, corpus.notes)
    return summary_of(study, ledger.records.all, runs, wall_seconds)


@dataclass(frozen=True)
class _Compared:
    """Who is compared: finalists at a length, else trials (length: none)."""

    contenders: list[Contender]
    reference: str | None
    length: int | None
    rule: Rule

    def made(self) -> Choice:
        """The choice among them."""
        return choose(self.contenders, next((o for o in self.contenders if o.name == self.reference), None), self.rule)


def summary_of(study: Study, every: list[Record], runs: list[FinalRun], seconds: float) -> Summary:
    """What was found. every: the trials' records; runs: of finalists by the settings' recipe; seconds: wall time.

    The page and the tracking store are left empty for who knows them.
    """
    settings = study.settings
    reference = finalists.reference_of(every, settings.choice.reference)
    own = [r for r in every if r.copy_of is None]
    asked = [r for r in every if r.design is None]
    entered = tables.entered(runs, every, study.demand, settings) if settings.finalists else []
    rows = [one.row for one in entered]
    compared = _compared(settings, every, entered, reference)
    made, length = compared.made(), compared.length
    chosen = _chosen(made.chosen, rows, every, reference, length)
    shown: Sequence[TrialRow | AtLength] = (
        [row.lengths[length] for row in rows if length in row.lengths]
        if length
        else [tables.trial_row(r, reference) for r in every if r.outcome]
    )
    return Summary(
        study=settings.name,
        version=__version__,
        trials=Counts(
            *(sum(r.state == state for r in own) for state in ("complete", "pruned", "infeasible", "failed"))
        ),
        duplicates=len(every) - len(own),
        asked=Asked(len(asked), sum(r.state != "infeasible" for r in asked)),
        chosen=chosen,
        reference=made.reference,
        verdict=made.verdict,
        effective_context=chosen.effective_context if chosen else None,
        context_gain=chosen.context_gain if chosen else {},
        uses_context=_gains_from(shown, (length or settings.recipe.length) // FAR),
        gains_at_context=_gains_from(shown, settings.context),
        trial_reference=tables.trial_name(reference) if reference else None,
        choice=_choice(made, compared.rule, settings, length),
        tradeoff=tradeoff(compared.contenders),
        front=[tables.trial_row(r, reference) for r in finalists.front(every)],
        baselines=[tables.trial_row(r, reference) for r in tables.baselines(every)],
        finalists=rows,
        ladder=ladder(every, finalists.on_corpus(runs), length),
        seconds=_seconds(every, runs, seconds, settings.workers),
        records=every,
        demand=study.required,
        settings=settings,
        space=study.space,
        corpus=study.corpus,
        rejected_unasked=sum(record.rejected for record in every),
        notes=[*study.told, *notes(every, runs, settings)],
        report="",
        tracking_uri="",
    )


def _counts(own: list[Record]) -> Counts:
    found = Counter(record.state for record in own)
    return Counts(found["complete"], found["pruned"], found["infeasible"], found["failed"])


def _compared(
    settings: StudySettings, every: list[Record], entered: list[Entered], reference: Record | None
) -> _Compared:
    """Among finalists at the settings' length, where any was trained there; else among trials."""
    length, context = settings.compared_at, settings.context
    finals = [found for one in entered if (found := one.contender(length, context))]
    rule = _rule(settings, confirming=bool(finals))
    if not finals:
        name = tables.trial_name(reference) if reference else None
        return _Compared(tables.trial_contenders(every, context), name, None, rule)
    picked_by = {one.row.name: one.row.picked_by for one in entered if one.row.picked_by}
    return _Compared(finals, tables.reference_name(picked_by, settings), length, rule)


def _choice(made: Choice, rule: Rule, settings: StudySettings, length: int | None) -> ChoiceMade:
    """How the choice was made; length: the finalists' window, if there are any."""
    return ChoiceMade(
        among="finalists" if length else "trials",
        length=length or settings.recipe.length,
        context=settings.context,
        recipe=_recipe(settings, length),
        delta=rule.delta,
        confidence=rule.confidence,
        recall=rule.recall,
        said=made.reasons,
        standings={name: _standing(found) for name, found in made.standings.items()},
        confirmed=made.confirmed,
        worse=made.worse,
        comparisons={name: _comparison(found) for name, found in made.comparisons.items()},
    )


def _rule(settings: StudySettings, confirming: bool) -> Rule:
    """Among finalists, else among trials, where nothing can be confirmed."""
    asked, larger = settings.choice, "finalists.tokens" if confirming else "recipe.tokens"
    named = asked.reference != BEST
    return Rule(asked.delta, asked.confidence, confirming, asked.recall, f"a larger {larger}", named)


def _comparison(found: Comparison) -> ComparisonRow:
    return ComparisonRow(difference=found.loss.gap(), lost_gain=found.lost_gain.gap() if found.lost_gain else None)


def _standing(found: choice.Standing) -> StandingRow:
    row = _comparison(found.comparison)
    return StandingRow(rival=found.rival, p=found.p, difference=row.difference, lost_gain=row.lost_gain)


def _gains_from(shown: Sequence[TrialRow | AtLength], context: int) -> bool | None:
    """Does any model gain LEAST_GAIN or more, significantly, from beyond so many tokens? None where that was not
    measured.
    """
    far = [gain for row in shown for c, gain in row.context_gain.items() if c >= context]
    return any(gain.low > 0 and gain.value >= LEAST_GAIN for gain in far) if far else None


def _chosen(
    name: str | None, rows: list[Finalist], every: list[Record], reference: Record | None, length: int | None
) -> Chosen | None:
    """The row of the chosen name: of a finalist at the length, else of a trial."""
    if length:
        row = next((row for row in rows if row.name == name), None)
        return _chosen_finalist(row, every, reference, length) if row else None
    picked = next((r for r in every if tables.trial_name(r) == name), None)
    return Chosen(**vars(tables.trial_row(picked, reference))) if picked else None


def _chosen_finalist(row: Finalist, every: list[Record], reference: Record | None, length: int) -> Chosen:
    """The chosen finalist beside its trial, if it was one, with the losses of its longer training."""
    trials = [r for r in every if r.fingerprint == row.fingerprint and r.copy_of is None]
    trial = min(trials, key=lambda r: r.late_loss if r.late_loss is not None else math.inf, default=None)
    base, at = tables.trial_row(trial, reference) if trial else None, row.lengths[length]
    return Chosen(
        trial=base.trial if base else None,
        design=row.name if row.known or base is None else base.design,
        picture=row.picture,
        architecture=row.architecture,
        fingerprint=row.fingerprint,
        parameters=row.parameters,
        state=base.state if base else "complete",
        feasible=row.feasible,
        objective=base.objective if base else None,
        loss=at.loss,
        rate=at.learning_rate,
        test_loss=at.test_interval,
        difference=at.difference,
        mi_captured_nats=at.mi_captured_nats,
        state_bytes=row.state_bytes,
        growth_exponent=row.growth_exponent,
        meets_growth=row.meets_growth,
        meets_level=row.meets_level,
        reach_tokens=row.reach_tokens,
        reason=None,
        decode_ms=base.decode_ms if base else None,
        context_gain=at.context_gain,
        effective_context=at.effective_context,
        picked_by=row.picked_by,
        recall_bits=row.recall_bits,
        seeds=at.seeds,
    )


def _recipe(settings: StudySettings, length: int | None) -> Recipe:
    """By what the contenders were trained, but for learning rate and seed."""
    if length is None:
        return settings.recipe
    return finalists.FinalJob("", {}, length, 1.0, finalists.PICKS + 1).recipe(finalists.final_recipe(settings))


def notes(every: list[Record], runs: list[FinalRun], settings: StudySettings) -> list[str]:
    """What a reader of the tables must know: failed runs, what was not kept, windows that training saw as none."""
    said = [f"trial {r.number} ({r.design or r.picture}) failed: {r.reason}" for r in every if r.state == "failed"]
    said += [_missing(name, own) for name, own in tables.without_result(every).items()]
    said += [f"{run.job.name} (seed {run.job.seed}) failed: {run.reason}" for run in runs if run.result is None]
    said += sorted({r.note for r in every if r.note})
    if edge := _at_the_edge(runs, settings):
        said.append(
            f"the best learning rate is the lowest or highest of those tried (finalists.rates): {', '.join(edge)}"
        )
    length = settings.recipe.length
    if any((layer.get("window") or 0) >= length for r in every for layer in r.architecture["layers"]):
        said.append(
            f"in training, windows of {length} or more tokens are the same as full attention, since recipe.length is "
            f"{length}: their losses say nothing about longer contexts"
        )
    return [*said, *_unlike_decoding(every)]


def _unlike_decoding(every: list[Record]) -> list[str]:
    """A warning where decoding times differ by launches and not by what is computed."""
    by_graph = [r.result["decode_graph"] for r in every if r.result and r.result.get("decode_graph") is not None]
    if len(set(by_graph)) < 2:
        return []
    return [
        f"decoding times compare unlike things: {sum(by_graph)} of {len(by_graph)} architectures, those whose state is "
        "of fixed size, were replayed as a CUDA graph; the others waited for the launch of each kernel"
    ]


def _missing(name: str, own: list[Record]) -> str:
    """What a reader must know of a baseline that has no result."""
    reason = own[0].reason
    ran_out = own[0].ran_out
    remedy = "; set recipe.recompute: true to use less memory, or use a larger GPU" if ran_out else ""
    return f"{name} has no result, so no model is compared with it: {reason}{remedy}"


def _at_the_edge(runs: list[FinalRun], settings: StudySettings) -> list[str]:
    """Finalists whose best learning rate is the least or the largest of three or more."""
    asked = settings.finalists
    if asked is None or len(asked.rates) < 3:
        return []
    best = finalists.best_rates(runs, finalists.lengths(settings)[0])
    return [name for name, rate in best.items() if rate in (min(asked.rates), max(asked.rates))]


def _seconds(every: list[Record], runs: list[FinalRun], total: float, workers: int) -> Seconds:
    """Of the whole study, earlier sessions included."""
    own = [r for r in every if r.copy_of is None]
    outcomes = [r.outcome for r in own if r.outcome] + [run.result for run in runs if run.result]
    training = sum(o.train_seconds for o in outcomes) + sum(r.recall_seconds for r in own)
    training += sum(r.stopped_seconds for r in own if r.state == "pruned")
    training += sum(max(0.0, r.seconds - r.recall_seconds) for r in own if r.state == "failed" or r.ran_out)
    evaluating = sum(o.evaluate_seconds for o in outcomes)
    overhead = max(0.0, total * workers - training - evaluating)
    return Seconds(round(total, 1), round(training, 1), round(evaluating, 1), round(overhead, 1))


def metrics(summary: Summary) -> dict[str, float]:
    """What the study's own run shows in the tracking store."""
    found = {f"trials_{state}": float(count) for state, count in asdict(summary.trials).items()}
    found |= {f"seconds_{part}": value for part, value in asdict(summary.seconds).items()}
    chosen = summary.chosen
    if chosen and chosen.loss is not None:
        found |= {"chosen_late_loss": chosen.loss, "chosen_state_bytes": float(chosen.state_bytes)}
        found |= {"chosen_growth_exponent": chosen.growth_exponent, "chosen_parameters": float(chosen.parameters)}
    if chosen and chosen.effective_context is not None:
        found["chosen_effective_context"] = float(chosen.effective_context)
    return found
