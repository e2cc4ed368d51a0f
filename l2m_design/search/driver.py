"""The driver: asks for architectures, hands jobs to an executor, hears what happens, and keeps it.

One process decides everything. What it decides depends on what jobs answered, never on when (study/draws.py).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.search import plan
from l2m_design.search.executors.base import LOOK, Ended, Executor, Looked, Stepped
from l2m_design.search.executors.kernels import FixedKernels
from l2m_design.search.executors.processes import Job
from l2m_design.search.record import Record, Records
from l2m_design.search.results import finalists
from l2m_design.search.results.finalists import RECALL, FinalJob, FinalRun, run_recipe
from l2m_design.search.study.draws import Draws, Past, before
from l2m_design.search.study.ledger import Ledger
from l2m_design.search.tracking.content import LOSS, RUNG, finalist_key
from l2m_design.search.tracking.tracker import Tracker
from l2m_design.search.trials import recall
from l2m_design.search.trials.trial import Trial, begun
from l2m_design.search.watch import Status, Watch
from l2m_design.training.result import Result

STALLED = 20  # drawings in a row with nothing new
AT_ONCE = 0.001  # seconds: look for events and go on drawing


@dataclass(frozen=True)
class Listener:
    """Who hears of progress: parts done of a named whole, steps of a run (with what it reached so far, in words), each
    ended trial, troubles in a line, and about once a second where the search stands.
    """

    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    step: Callable[[str, int, int, str], None] = lambda what, done, total, reached: None
    trial: Callable[[Record], None] = lambda record: None
    trouble: Callable[[str], None] = lambda sentence: None
    status: Callable[[Status], None] = lambda status: None

    def watched(self, watch: Watch) -> "Listener":
        """The same, with a watch that hears it too."""

        def progress(what: str, done: int, total: int) -> None:
            watch.progress(what, done, total)
            self.progress(what, done, total)

        def step(what: str, done: int, total: int, reached: str) -> None:
            watch.step(what, done, total, reached)
            self.step(what, done, total, reached)

        def trial(record: Record) -> None:
            watch.trial(record)
            self.trial(record)

        return replace(self, progress=progress, step=step, trial=trial)


@dataclass(frozen=True)
class Bench:
    """What the stages of a search share: the ledger, who runs jobs, who hears of it, who tracks, where files go, which
    kernels compute.
    """

    ledger: Ledger
    executor: Executor
    listener: Listener
    tracker: Tracker
    folder: Path
    kernels: FixedKernels = field(default_factory=FixedKernels)

    def submit(self, key: int | str, job: Job) -> None:
        """Have a job run with the kernels that the study has fixed."""
        self.executor.submit(key, replace(job, probes=self.kernels.probes))


class Trials:
    """The trials of a study: the baselines at every learning rate, then architectures, until enough were trained."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._records, self._descriptor = bench.ledger.records, bench.ledger.descriptor
        self._settings, self._candidates = self._descriptor.settings, self._descriptor.candidates
        self._draws = Draws(self._descriptor)
        self._open: dict[int, Trial] = {}
        self._ready: list[Trial] = []
        self._baselines = plan.baselines(self._descriptor)
        self._untracked = self.exhausted = False

    def run(self) -> None:
        """Until everything that is planned is done."""
        self._bench.tracker.stage("trials")
        bench, planned = self._bench, self._settings.search.trials + len(self._baselines)
        while True:
            drew = len(self._ready) <= bench.executor.free and self._draw()
            while self._ready and bench.executor.free:
                trial = self._ready.pop(0)
                trial.began = time.perf_counter()
                self._submit(trial)
            if self._untracked and not drew:
                self._untracked = False
                bench.tracker.sync(self._records.all)  # while jobs run
            if not drew and not self._open:
                return
            bench.ledger.sign()
            bench.tracker.stream()
            bench.listener.progress("trials", min(self._records.trained, planned), planned)
            self._hear(AT_ONCE if drew else LOOK)

    def _draw(self) -> bool:
        """One more trial, if one is wanted and all is known that it depends on."""
        number = next(n for n in range(len(self._records.all) + len(self._open) + 1) if not self._taken(n))
        there = {(r.design, r.rate) for r in self._records.all} | {
            (t.record.design, t.record.rate) for t in self._open.values()
        }
        asked = next((b for b in self._baselines if (b.name, b.rate) not in there), None)
        if asked:
            self._begin(number, None, asked)
            return True
        if not self._wanted(number) or not all(
            n in self._records for n in range(number - self._bench.ledger.lag(number) + 1)
        ):
            return False
        self._begin(number, self._past(number), None)
        return True

    def _taken(self, number: int) -> bool:
        return number in self._records or number in self._open

    def _wanted(self, number: int) -> bool:
        """Are trials missing, of those before this number, and is there anything new?"""
        earlier = [r for r in self._records.all if r.number < number]
        drawn = sum(r.spends and r.design is None for r in earlier)
        drawn += sum(t.record.design is None for n, t in self._open.items() if n < number)
        idle = 0
        for n in range(number - 1, -1, -1):
            if n in self._open or self._records.at(n).spends:
                break
            idle += 1
        self.exhausted = idle >= STALLED and drawn < self._settings.search.trials
        return drawn < self._settings.search.trials and not self.exhausted

    def _past(self, number: int) -> Past:
        """What counts for the architecture of this number."""
        first = max(0, number - self._bench.ledger.lag(number) + 1)
        ended, late = before(self._records.all, first), range(first, number)
        return Past(ended, {n: self._records.at(n) if n in self._records else self._open[n].record for n in late})

    def _begin(self, number: int, past: Past | None, baseline: plan.Baseline | None) -> None:
        """Draw it, and have it trained where that is called for."""
        began = time.perf_counter()
        if baseline:
            asked, picks, known = None, baseline.picks, Records()
            found = self._candidates.drawn(lambda name, options: picks[name], baseline.given)
        else:
            assert past
            asked, known = self._draws.asked(number, past), past.ended
            picks = asked.picks
            found = self._candidates.drawn(lambda name, options: picks[name])
        record = begun(self._candidates, number, found, picks, baseline.name if baseline else None, known)
        record = replace(
            record,
            drawing_seconds=round(time.perf_counter() - began, 6),
            rejected=asked.rejected if asked else 0,
            generation=asked.generation if asked else {},
        )
        earlier = past.running_duplicate(found) if past else None
        if earlier is not None and record.spends:
            record = replace(record, state="pruned", reason=f"duplicate of trial {earlier}", copy_of=earlier)
        trial = Trial(record, found, self._descriptor, asked, known, self._bench.folder)
        if trial.job() is None:
            self._end(trial)
            return
        self._open[number] = trial
        self._ready.append(trial)

    def _submit(self, trial: Trial) -> None:
        job, number = trial.job(), trial.record.number
        assert job
        self._bench.submit(number, job)
        self._bench.tracker.begin_trial(trial.record)
        self._bench.tracker.tell(str(number), stage=trial.stage)

    def _hear(self, timeout: float) -> None:
        event = self._bench.executor.next(timeout)
        if event is None:
            return
        trial = self._open[int(event.key)]
        if isinstance(event, Stepped):
            self._bench.listener.step(trial.name, event.done, event.total, trial.reached)
            if not trial.recalls:
                trial.curve |= dict(event.points)  # of a job that goes on from its checkpoint some come twice
                self._bench.tracker.tell(event.key, [(LOSS, *point) for point in event.points])
        elif isinstance(event, Looked):
            event.answer(trial.on_rung(event.rung))
            self._bench.tracker.tell(event.key, [(RUNG, *look) for look in trial.rungs[-1:]])
        else:
            self._bench.kernels.learn(event.outcome.result)
            trial.on_end(event.outcome)
            if trial.job():
                self._submit(trial)
            else:
                self._end(trial)

    def _end(self, trial: Trial) -> None:
        """Keep what became of it, and tell who listens."""
        record, bench = trial.record, self._bench
        bench.ledger.add(record, self._draws.entry(record, trial.found))
        self._open.pop(record.number, None)
        bench.listener.trial(record)
        self._untracked = True


def run_finalists(bench: Bench) -> None:
    """Tune, then train every seed at every length; finished runs are not repeated."""
    descriptor = bench.ledger.descriptor
    settings = descriptor.settings
    entered = entrants(bench.ledger)
    _worked_off(bench, finalists.tuning_jobs(settings, entered), "finalists: learning rates")
    runs = bench.ledger.runs(finalists.final_recipe(settings).fingerprint)
    for jobs, what in (
        (finalists.seed_jobs(settings, entered, runs), "finalists: seeds and lengths"),
        (finalists.recall_jobs(settings, entered, runs), "finalists: recall"),
    ):
        _worked_off(bench, jobs, what)


def entrants(ledger: Ledger) -> dict[str, Architecture]:
    """Every finalist's architecture by name: baselines that a GPU holds, the study's own, the best trials."""
    descriptor = ledger.descriptor
    ran_out = {record.fingerprint for record in ledger.records.all if record.ran_out}
    known = {name: drawing for name, (drawing, _) in plan.designs(descriptor).items()}
    known = {name: drawing for name, drawing in known.items() if drawing.fingerprint not in ran_out}
    return finalists.entrants(descriptor.settings, ledger.records.all, known, plan.own_designs(descriptor))


def _worked_off(bench: Bench, jobs: list[FinalJob], what: str) -> None:
    ledger, executor = bench.ledger, bench.executor
    recipe = finalists.final_recipe(ledger.descriptor.settings)
    there = {run.job.fingerprint for run in ledger.runs(recipe.fingerprint)}
    wanted = {job.fingerprint: job for job in jobs}
    bench.tracker.stage(what)
    left = [(key, job) for key, job in wanted.items() if key not in there]
    open_: dict[int | str, FinalJob] = {}
    keys: dict[int | str, str] = {}
    while left or open_:
        while left and executor.free:
            key, job = left.pop(0)
            open_[key] = job
            bench.submit(key, _final_job(bench, job))
            bench.tracker.begin_finalist(begun_run := FinalRun(job, None, recipe=recipe.fingerprint))
            keys[key] = finalist_key(begun_run)
        ledger.sign()
        bench.tracker.stream()
        event = executor.next(LOOK)
        if isinstance(event, Stepped):
            bench.listener.step(_final_name(open_[event.key]), event.done, event.total, "")
            bench.tracker.tell(keys[event.key], [(LOSS, *point) for point in event.points])
        elif isinstance(event, Looked):
            event.answer(True)
        elif isinstance(event, Ended):
            bench.kernels.learn(event.outcome.result)
            result = Result.of_plain(event.outcome.result) if event.outcome.result else None
            ledger.add_run(FinalRun(open_.pop(event.key), result, event.outcome.reason, recipe.fingerprint))
            bench.listener.progress(what, len(wanted) - len(left) - len(open_), len(wanted))
            bench.tracker.sync(ledger.records.all, ledger.runs(recipe.fingerprint))


def _final_job(bench: Bench, job: FinalJob) -> Job:
    descriptor = bench.ledger.descriptor
    settings, shared = descriptor.settings, finalists.final_recipe(descriptor.settings)
    corpus, recipe, known = settings.corpus, run_recipe(settings, job, shared), descriptor.corpus["fingerprint"]
    if job.task == RECALL:
        vocabulary: Any = descriptor.corpus["vocabulary"]
        corpus, recipe = recall.source(settings, descriptor.demand.exponent, vocabulary, job.rate)
        known = None
    return Job(
        architecture=job.architecture,
        corpus=corpus,
        recipe=recipe.plain(),
        device=settings.device,
        threads=settings.threads,
        weights=None,
        processes=settings.gpus_per_trial,
        shard=settings.shard,
        checkpoint=str(bench.folder / "checkpoints" / f"{job.fingerprint}-{shared.fingerprint}.pt"),
        fingerprint=known,
        name=_final_name(job),
    )


def _final_name(job: FinalJob) -> str:
    return f"{job.name}, {job.length:,} tokens, seed {job.seed}"
