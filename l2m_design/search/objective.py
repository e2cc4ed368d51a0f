"""One trial: from an asked candidate to its record. Infeasible drawings end here, before anything is built."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from l2m_design.condition import Demand, Verdict
from l2m_design.corpus import Corpus
from l2m_design.errors import BadInput
from l2m_design.search.record import Record, Records
from l2m_design.search.settings import StudySettings
from l2m_design.search.space import Space
from l2m_design.search.study import Asked
from l2m_design.search.workers import Job, run_isolated
from l2m_design.training.run import Rung

OnStep = Callable[[Record, int, int], None]


class Objective:
    """late loss + price · log2(state bytes at the target length), nats a token, to be made small."""

    def __init__(self, settings: StudySettings, space: Space, corpus: Corpus, demand: Demand, folder: Path) -> None:
        self._settings, self._space, self._corpus, self._demand = settings, space, corpus, demand
        self._folder = folder

    def penalty(self, state_bytes: int) -> float:
        """The price of the state in nats a token."""
        return self._settings.search.price * math.log2(max(1, state_bytes))

    def run(self, asked: Asked, records: Records, on_step: OnStep) -> Record:
        """Draw, judge, and train unless rejected or known; the record is kept before Optuna hears of it."""
        began = time.perf_counter()
        record, verdict, misfit = self._drawn(asked)
        enforced = self._settings.search.enforce
        asked.constrain(constraints(verdict, enforced) | {"fits": 1.0 if misfit else 0.0})
        twin = records.twin(record.fingerprint)
        if not record.feasible and not record.design:
            record = replace(record, state="infeasible", reason=misfit or rejection(verdict, enforced))
        elif twin:
            record = record.copied_from(twin)
        else:
            record = self._trained(asked, record, on_step)
        record = replace(record, seconds=round(time.perf_counter() - began, 4))
        records.add(record)
        asked.tell(record.value, pruned=record.state in ("pruned", "infeasible"))
        return record

    def _drawn(self, asked: Asked) -> tuple[Record, Verdict, str | None]:
        """The asked drawing's record and verdict, and why no width suits it, if none does."""
        misfit = None
        try:
            architecture = self._space.draw(asked.pick, self._corpus.vocabulary)
        except BadInput as error:
            misfit = str(error)
            architecture = self._space.least(asked.pick, self._corpus.vocabulary)
        misfit = misfit or architecture.too_short(self._settings.recipe.length)
        verdict = self._demand.judge(architecture.state)
        terms = self._demand.terms
        enforced = {"growth": verdict.meets_growth, "level": verdict.meets_level}
        record = Record(
            number=asked.number,
            state="failed",
            architecture=architecture.plain(),
            picture=architecture.picture,
            fingerprint=architecture.fingerprint,
            parameters=architecture.parameters,
            state_bytes=architecture.state.bytes(terms.length, terms.dtype),
            verdict=verdict.plain(),
            feasible=not misfit and all(enforced[part] for part in self._settings.search.enforce),
            params=asked.params,
            design=asked.design,
        )
        return record, verdict, misfit

    def _trained(self, asked: Asked, record: Record, on_step: OnStep) -> Record:
        penalty = self.penalty(record.state_bytes)
        rungs: list[tuple[int, float]] = []

        def on_rung(rung: Rung) -> bool:
            """Rungs are compared by penalised loss, as ends are. Known designs run to their end; only feasible
            candidates set the bar for others.
            """
            rungs.append((rung.tokens, round(rung.late_loss, 5)))
            if not math.isfinite(rung.late_loss):
                return False
            goes_on = not record.feasible or asked.report(rung.step, rung.late_loss + penalty)
            return goes_on or record.design is not None

        minutes = self._settings.search.trial_minutes
        outcome = run_isolated(
            self._job(record),
            on_rung,
            lambda done, total: on_step(record, done, total),
            minutes * 60 if minutes else None,
        )
        record = replace(record, rungs=rungs)
        if outcome.stopped and not math.isfinite(rungs[-1][1]):
            return replace(record, reason="the loss is not finite", rungs=rungs[:-1])
        if outcome.stopped:
            return replace(
                record,
                state="pruned",
                reason=f"behind the {self._settings.search.pruner} rule after {rungs[-1][0]} tokens",
            )
        if outcome.result is None:
            return replace(record, reason=outcome.reason)
        return replace(record, state="complete", result=outcome.result, value=outcome.result["late_loss"] + penalty)

    def _job(self, record: Record) -> Job:
        weights = self._folder / "weights" / f"{record.number:05d}.safetensors"
        settings = self._settings
        return Job(
            record.architecture,
            settings.corpus,
            settings.recipe.plain(),
            settings.device,
            settings.threads,
            str(weights),
        )


def constraints(verdict: Verdict, enforced: tuple[str, ...]) -> dict[str, float]:
    """Optuna constraints, feasible where at most 0; the same keys for every candidate of a study."""
    named: dict[str, float] = {}
    if "growth" in enforced:
        named["l2m_growth"] = verdict.asked - verdict.growth
    if "level" in enforced and verdict.slack is not None:
        named |= {f"l2m_level@{length}": -slack for length, slack in verdict.slack.items()}
    return named


def rejection(verdict: Verdict, enforced: tuple[str, ...]) -> str:
    """Why a drawing is infeasible, in words."""
    if not verdict.meets_growth and "growth" in enforced:
        return f"its state grows as t^{verdict.growth:.2f}, the data ask for t^{verdict.asked:.2f}"
    assert verdict.slack is not None
    length, slack = min(verdict.slack.items(), key=lambda item: item[1])
    return f"at {length} tokens its state is {math.exp(-slack):.2g} times too small for the assumed nats per element"
