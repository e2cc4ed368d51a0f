"""Worker: takes tickets of a study until it is finished, one after another; any number of them, anywhere."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from l2m_design.search.record import Record
from l2m_design.search.results.finalists import RECALL, FinalJob, run_recipe
from l2m_design.search.study.asked import Asked
from l2m_design.search.study.queue import JOB, SHARED, Queue, TakenAway, Ticket, this_worker
from l2m_design.search.study.storage import StorageAway
from l2m_design.search.trials import recall
from l2m_design.search.trials.objective import Objective, OnStep, Place
from l2m_design.search.trials.processes import Job, Outcome, run_stubbornly
from l2m_design.search.workers.shared import RECORD, RUN, TRIAL, SharedStudy, kept_record
from l2m_design.settings import to_json
from l2m_design.training.recipe import Recipe

STALLED = 20
PAUSE, SWEEP = 0.2, 15.0


@dataclass(frozen=True)
class Hooks:
    """Who hears of progress: steps of a trial, steps of a finalist, each ended trial, each ended run."""

    step: OnStep = lambda record, done, total: None
    final_step: Callable[[FinalJob, int, int], None] = lambda job, done, total: None
    trial: Callable[[Record], None] = lambda record: None
    final: Callable[[FinalJob], None] = lambda job: None


class Worker:
    """One worker of a study at its place."""

    def __init__(self, shared: SharedStudy, place: Place, hooks: Hooks | None = None) -> None:
        self._shared, self._place, self._hooks = shared, place, hooks or Hooks()
        descriptor = shared.descriptor
        self._settings = descriptor.settings
        self._objective = Objective(self._settings, descriptor.candidates, descriptor.demand.exponent, place)
        self._name = this_worker()
        self._idle = 0

    def run(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Work until the study is finished or `stop` says so."""
        swept = 0.0
        while not stop() and not self._shared.finished:
            if time.monotonic() - swept > SWEEP:
                swept = time.monotonic()
                self._shared.trials.bury()
                self._shared.finals.bury()
            if not (self.one_trial(stop) or self.one_final(stop)):
                time.sleep(PAUSE)

    def one_trial(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Take and work off a trial; False when none waits."""
        queue, sampler = self._shared.trials, self._shared.sampler
        before = sampler.rejected
        trial = queue.take(self._name)
        if trial is None:
            return False
        asked = Asked(trial, queue, self._settings.search.reduction)
        with queue.alive(trial), self._given_back(queue, trial):
            record, values = self._objective.run(asked, self._shared, self._hooks.step, stop)
            record = replace(record, rejected=sampler.rejected - before)
            if stop() and record.state == "failed":
                queue.give_back(trial)
                return True
            told = values if record.state == "complete" and not trial.user_attrs.get(JOB) else None
            if asked.finish({RECORD: kept_record(record)}, told, record.state in ("pruned", "infeasible")):
                self._spent(record)
                self._hooks.trial(record)
        return True

    def _spent(self, record: Record) -> None:
        """A rejected or repeated drawing gives its ticket back, unless the space has nothing new."""
        if record.state != "infeasible" and record.copy_of is None:
            self._idle = 0
            return
        self._idle += 1
        if self._idle >= STALLED:
            self._shared.exhaust()
        elif not self._shared.exhausted:
            self._shared.trials.plan(TRIAL)

    def one_final(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Take and work off a finalist's run; False when none waits."""
        queue = self._shared.finals
        trial = queue.take(self._name)
        if trial is None:
            return False
        job, recipe = FinalJob(**trial.user_attrs[JOB]), Recipe.parse(trial.user_attrs[SHARED], "finalists")
        with queue.alive(trial), self._given_back(queue, trial):
            outcome = self._finalist(job, recipe, stop)
            if stop() and outcome.result is None:
                queue.give_back(trial)
                return True
            kept = to_json({"result": outcome.result, "reason": outcome.reason})
            if queue.finish(trial, {RUN: kept}, [outcome.result["late_loss"]] if outcome.result else None, False):
                self._hooks.final(job)
        return True

    def _finalist(self, job: FinalJob, shared: Recipe, stop: Callable[[], bool]) -> Outcome:
        """By the ticket's recipe: the study may have been planned again with another since this worker joined."""
        corpus, recipe = self._settings.corpus, run_recipe(self._settings, job, shared)
        if job.task == RECALL:
            beta, vocabulary = self._shared.descriptor.demand.exponent, self._shared.descriptor.corpus["vocabulary"]
            corpus, recipe = recall.source(self._settings, beta, vocabulary, job.rate)
        work = Job(
            architecture=job.architecture,
            corpus=corpus,
            recipe=recipe.plain(),
            device=self._place.device,
            threads=self._place.threads,
            weights=None,
            processes=self._place.processes,
            checkpoint=str(self._place.folder / "checkpoints" / f"{job.fingerprint}-{shared.fingerprint}.pt"),
        )
        return run_stubbornly(work, on_step=lambda done, total: self._hooks.final_step(job, done, total), stop=stop)

    @contextlib.contextmanager
    def _given_back(self, queue: Queue, trial: Ticket) -> Iterator[None]:
        """Whatever ends this worker, its ticket is planned again; a ticket that others were given is let go."""
        try:
            yield
        except TakenAway:
            return
        except StorageAway:
            raise
        except BaseException:
            queue.give_back(trial)
            raise
