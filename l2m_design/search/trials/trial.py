"""Trial: one candidate from its architecture to its record; it gives the next job and receives its outcome."""

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from l2m_design.search.executors.processes import Job, Outcome
from l2m_design.search.record import Record, Records
from l2m_design.search.results.finalists import trial_recipe
from l2m_design.search.space.layout import Picks
from l2m_design.search.study.descriptor import Descriptor
from l2m_design.search.study.draws import Asked
from l2m_design.search.trials import recall
from l2m_design.search.trials.candidates import TRAINING_BYTES, Candidate, Candidates, objectives
from l2m_design.settings import Json
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import Rung


@dataclass
class Trial:
    """A candidate that is being trained. asked: hears its rungs, none for baselines; known: records that count for it.

    folder: of weights and checkpoints. curve: its training loss so far, nats per token by tokens read.
    """

    record: Record
    found: Candidate
    descriptor: Descriptor
    asked: Asked | None
    known: Records
    folder: Path
    rungs: list[tuple[int, float]] = field(default_factory=list)
    curve: dict[int, float] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)
    _spent: float = 0.0
    _recalled: bool = False
    _answers: dict[int, bool] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is, for a line of progress."""
        return f"trial {self.record.number}, {self.record.design or self.record.picture}"

    @property
    def reached(self) -> str:
        """Its loss so far, in words."""
        return "".join(f"loss {loss:.3f} after {tokens:,} tokens" for tokens, loss in self.rungs[-1:])

    def job(self) -> Job | None:
        """The next job; none where all is known."""
        settings = self.descriptor.settings
        if self.record.state != "failed" or self.record.reason is not None:
            return None
        if settings.recall and settings.recall.stage == "trials" and not self._recalled:
            corpus, recipe = recall.source(
                settings, self.descriptor.demand.exponent, self.found.architecture.vocabulary
            )
            return replace(self._job(recipe), corpus=corpus, weights=None, fingerprint=None)
        return self._job(trial_recipe(settings))

    def on_rung(self, rung: Rung) -> bool:
        """Rungs are compared as ends are. Baselines run to their end; only feasible candidates set the bar."""
        if self.recalls:
            return True
        if rung.tokens not in self._answers:  # a run that goes on from its checkpoint tells its looks again
            self.rungs.append((rung.tokens, round(rung.late_loss, 5)))
            self._spent = rung.seconds
            self._answers[rung.tokens] = self._goes_on(rung.late_loss)
        return self._answers[rung.tokens]

    def _goes_on(self, loss: float) -> bool:
        if not math.isfinite(loss):
            return False
        if self.asked is None or not self.record.feasible:
            return True
        return self.asked.report(objectives(self.descriptor.settings.search, self.record, loss))

    @property
    def stage(self) -> str:
        """What its next job is: recall or training."""
        return "recall" if self.recalls else "training"

    @property
    def recalls(self) -> bool:
        """Is its next job, or the one that runs, on the recall source?"""
        asked = self.descriptor.settings.recall
        return bool(asked and asked.stage == "trials" and not self._recalled)

    def on_end(self, outcome: Outcome) -> None:
        """What became of its job."""
        if self.recalls:
            self._recalled = True
            self.record = self._with_recall(outcome)
        else:
            self.record = self._ended(outcome)
        if self.record.state != "failed" or self.record.reason is not None:
            self._close()

    def _with_recall(self, outcome: Outcome) -> Record:
        """The record with its excess on the recall source; none where that run failed."""
        settings, record = self.descriptor.settings, self.record
        if outcome.result is None:
            return replace(record, note=f"trial {record.number}: recall was not measured: {outcome.reason}")
        seconds = outcome.result["train_seconds"] + outcome.result["evaluate_seconds"]
        record = replace(record, recall=outcome.result["late_excess_nats"], recall_seconds=seconds)
        assert settings.recall
        if settings.recall.keep < 1 and not record.design and recall.behind(record, self.known, settings):
            reason = f"its recall ({record.recall:.3f} nats per fact above the Bayes loss) is not among the best "
            return replace(record, state="pruned", reason=f"{reason}{settings.recall.keep:.0%}")
        return record

    def _ended(self, outcome: Outcome) -> Record:
        record, rungs = self.record, self.rungs
        notes = [record.note, f"trial {record.number}: {outcome.note}" if outcome.note else None]
        record = replace(record, rungs=rungs, note="; ".join(note for note in notes if note) or None)
        if outcome.stopped and not math.isfinite(rungs[-1][1]):
            return replace(record, reason="the loss is not finite", rungs=rungs[:-1], stopped_seconds=self._spent)
        if outcome.stopped:
            reason = f"behind the {self.descriptor.settings.search.pruner} rule after {rungs[-1][0]} tokens"
            spent = round(self._spent, 3)
            return replace(record, state="pruned", reason=reason, stopped_seconds=spent, curve=[*self.curve.items()])
        if outcome.out_of_memory:
            return replace(record, state="infeasible", reason=outcome.reason, feasible=False, too_large=True)
        if outcome.result is None:
            return replace(record, reason=outcome.reason or "ended without a message")
        size = math.log2(max(1, record.state_bytes))
        value = outcome.result["late_loss"] + self.descriptor.settings.search.price * size
        return replace(record, state="complete", result=outcome.result, value=value)

    def _close(self) -> None:
        """Time and memory that it took."""
        taken = TRAINING_BYTES * self.record.parameters
        if self.record.result:
            taken = max(taken, self.record.result["peak_memory_bytes"])
        if self.descriptor.candidates.memory(taken) > 0:
            self.record = replace(self.record, feasible=False, too_large=True)
        self.record = replace(self.record, seconds=round(time.perf_counter() - self.began, 4))

    def _job(self, recipe: Recipe) -> Job:
        settings, record = self.descriptor.settings, self.record
        name = f"{record.fingerprint}-{record.rate:g}-{recipe.fingerprint}"
        plain: Json = recipe.plain() | {"learning_rate": min(1.0, recipe.learning_rate * record.rate)}
        minutes = settings.search.trial_minutes
        return Job(
            architecture=record.architecture,
            corpus=settings.corpus,
            recipe=plain,
            device=settings.device,
            threads=settings.threads,
            weights=str(self.folder / "weights" / f"{record.number:05d}.safetensors"),
            processes=settings.gpus_per_trial,
            shard=settings.shard,
            checkpoint=str(self.folder / "checkpoints" / f"{name}.pt"),
            latency=settings.search.latency,
            fingerprint=self.descriptor.corpus["fingerprint"],
            seconds=minutes * 60 if minutes else None,
            name=self.name,
        )


def begun(
    candidates: Candidates, number: int, found: Candidate, picks: Picks, design: str | None, known: Records
) -> Record:
    """The record of a trial before its first job: rejected, the copy of an earlier one, or open (failed, no reason)."""
    record = candidates.record(number, found, picks, design)
    if found.misfit or (not record.feasible and not design):
        return replace(record, state="infeasible", reason=candidates.rejection(found))
    earlier = known.duplicate(record.fingerprint, record.rate, whole=design is not None)
    return record.copied_from(earlier) if earlier else record
