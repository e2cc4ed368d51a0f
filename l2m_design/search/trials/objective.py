"""The objective: one asked candidate drawn, held to the condition, and trained when it may be."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from l2m_design.architecture import Architecture
from l2m_design.search.record import Record, Records
from l2m_design.search.results.finalists import trial_recipe
from l2m_design.search.settings import StudySettings
from l2m_design.search.study.asked import Asked
from l2m_design.search.study.pruners import resource
from l2m_design.search.trials import recall
from l2m_design.search.trials.candidates import DRAWING, TRAINING_BYTES, TRAINS, Candidate, Candidates
from l2m_design.search.trials.processes import Job, Outcome, run_stubbornly
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import Rung

OnStep = Callable[[Record, int, int], None]


@dataclass(frozen=True)
class Place:
    """Where a worker computes: device, CPU threads, processes a trial, and the folder of checkpoints and weights."""

    device: str
    threads: int | None
    processes: int
    folder: Path


class Known(Protocol):
    """What a study's workers know of each other's trials, looked up anew at every call."""

    def records(self) -> Records:
        """Trials that ended."""

    def rival(self, key: str, number: int) -> int | None:
        """The trial of another worker that is to train the same candidate, if there is one."""


class Objective:
    """Late loss and state (penalised: late loss + price · log2(state bytes at the target)), to be made small."""

    def __init__(self, settings: StudySettings, candidates: Candidates, beta: float, place: Place) -> None:
        self._settings, self._candidates, self._beta, self._place = settings, candidates, beta, place

    def run(
        self, asked: Asked, known: Known, on_step: OnStep, stop: Callable[[], bool] = lambda: False
    ) -> tuple[Record, list[float] | None]:
        """The trial's record and the values that Optuna is to hear; nothing is told yet."""
        began = time.perf_counter()
        given = asked.attrs.get("job")
        drawing = Architecture.parse(given["architecture"], "design") if given else None
        found = self._candidates.drawn(asked.pick, drawing)
        asked.note(DRAWING, found.key)
        asked.constrain(self._candidates.constraints(found))
        record = self._candidates.record(asked.number, found, asked.params, asked.design)
        record = replace(record, drawing_seconds=self._drawing_seconds(asked.params))
        records = known.records()
        twin = records.twin(record.fingerprint, record.rate, whole=record.design is not None)
        taken = TRAINING_BYTES * record.parameters
        if found.misfit or (not record.feasible and not record.design):
            record = replace(record, state="infeasible", reason=self._candidates.rejection(found))
        elif twin:
            record = record.copied_from(twin)
        elif (rival := known.rival(found.key, asked.number)) is not None and not record.design:
            reason = f"another worker trains it, as trial {rival}"
            record = replace(record, state="pruned", reason=reason, copy_of=rival)
        else:
            asked.note(TRAINS, found.key)
            record = self._trained(asked, found, record, records, on_step, stop)
        if record.result:
            taken = max(taken, record.result["peak_memory_bytes"])
        memory = self._candidates.memory(taken)
        asked.constrain({"memory": memory})
        if memory > 0:
            record = replace(record, feasible=False, too_large=True)
        record = replace(record, seconds=round(time.perf_counter() - began, 4))
        return record, self.values(record) if record.result else None

    def _drawing_seconds(self, picks: dict[str, Any]) -> float:
        """What it takes to draw and judge these picks, without the database's part in asking for them."""
        began = time.perf_counter()
        self._candidates.feasible(picks)
        return round(time.perf_counter() - began, 6)

    def values(self, record: Record) -> list[float]:
        """What a complete trial tells Optuna."""
        assert record.late_loss is not None
        return self._values(record, record.late_loss)

    def _values(self, record: Record, late_loss: float) -> list[float]:
        size = math.log2(max(1, record.state_bytes))
        search = self._settings.search
        if search.mode == "penalised":
            return [late_loss + search.price * size]
        latency = record.result["decode_ms"] if search.latency and record.result else None
        return [late_loss, size] + ([latency or 0.0] if search.latency else [])

    def _trained(
        self,
        asked: Asked,
        found: Candidate,
        record: Record,
        records: Records,
        on_step: OnStep,
        stop: Callable[[], bool],
    ) -> Record:
        if self._settings.recall and self._settings.recall.stage == "trials":
            record = self._recalled(found, record, stop)
            if self._settings.recall.keep < 1 and not record.design and recall.behind(record, records, self._settings):
                reason = f"its recall ({record.recall:.3f} nats a fact over Bayes) is not in the best "
                return replace(record, state="pruned", reason=f"{reason}{self._settings.recall.keep:.0%}")
        rungs: list[tuple[int, float]] = []
        spent = [0.0]

        def on_rung(rung: Rung) -> bool:
            """Rungs are compared as ends are. Known designs run to their end; only feasible candidates set the bar."""
            if any(tokens == rung.tokens for tokens, _ in rungs):
                return True  # a run that goes on from its checkpoint tells its looks again
            rungs.append((rung.tokens, round(rung.late_loss, 5)))
            spent.append(rung.seconds)
            if not math.isfinite(rung.late_loss):
                return False
            at = resource(self._settings.search, len(rungs))
            goes_on = not record.feasible or asked.report(len(rungs), at, self._values(record, rung.late_loss))
            return goes_on or record.design is not None

        outcome = self._run(
            self._job(record, trial_recipe(self._settings)),
            on_rung,
            lambda done, total: on_step(record, done, total),
            stop,
        )
        notes = [record.note, f"trial {record.number}: {outcome.note}" if outcome.note else None]
        record = replace(record, rungs=rungs, note="; ".join(note for note in notes if note) or None)
        if outcome.stopped and not math.isfinite(rungs[-1][1]):
            return replace(record, reason="the loss is not finite", rungs=rungs[:-1], stopped_seconds=spent[-1])
        if outcome.stopped:
            record = replace(record, stopped_seconds=round(spent[-1], 3))
            reason = f"behind the {self._settings.search.pruner} rule after {rungs[-1][0]} tokens"
            return replace(record, state="pruned", reason=reason)
        if outcome.result is None:
            return replace(record, reason=outcome.reason)
        size = math.log2(max(1, record.state_bytes))
        value = outcome.result["late_loss"] + self._settings.search.price * size
        return replace(record, state="complete", result=outcome.result, value=value)

    def _recalled(self, found: Candidate, record: Record, stop: Callable[[], bool]) -> Record:
        """The record with its excess on the recall source; none where that run failed."""
        assert self._settings.recall
        corpus, recipe = recall.source(self._settings, self._beta, found.architecture.vocabulary)
        job = replace(self._job(record, recipe), corpus=corpus, weights=None)
        outcome = self._run(job, lambda rung: True, lambda done, total: None, stop)
        if outcome.result is None:
            return replace(record, note=f"trial {record.number}: no recall: {outcome.reason}")
        seconds = outcome.result["train_seconds"] + outcome.result["evaluate_seconds"]
        return replace(record, recall=outcome.result["late_excess_nats"], recall_seconds=seconds)

    def _run(
        self,
        job: Job,
        on_rung: Callable[[Rung], bool],
        on_step: Callable[[int, int], None],
        stop: Callable[[], bool],
    ) -> Outcome:
        minutes = self._settings.search.trial_minutes
        return run_stubbornly(job, on_rung, on_step, minutes * 60 if minutes else None, stop)

    def _job(self, record: Record, recipe: Recipe) -> Job:
        name = f"{record.fingerprint}-{record.rate:g}-{recipe.fingerprint}"
        plain: dict[str, Any] = recipe.plain() | {"learning_rate": min(1.0, recipe.learning_rate * record.rate)}
        return Job(
            architecture=record.architecture,
            corpus=self._settings.corpus,
            recipe=plain,
            device=self._place.device,
            threads=self._place.threads,
            weights=str(self._place.folder / "weights" / f"{record.number:05d}.safetensors"),
            processes=self._place.processes,
            checkpoint=str(self._place.folder / "checkpoints" / f"{name}.pt"),
            latency=self._settings.search.latency,
        )
