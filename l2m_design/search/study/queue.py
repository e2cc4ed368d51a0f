"""Queue: work to be done once, as Optuna trials that wait; any number of workers take from it, on any machine."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import optuna
import psutil
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from l2m_design.search.study.storage import Storage

TICKET, WORKER, ATTEMPT, TOLD = "ticket", "worker", "attempt", "told"
ATTEMPTS = 3
DESIGN, JOB, RECIPE, SHARED = "design", "job", "recipe", "shared_recipe"
KEPT_AT_RETRY = (TICKET, DESIGN, "design_rate", JOB, RECIPE, SHARED, "gave_up")
YOUNG = 30.0
Ticket = optuna.Trial
TakenAway = UpdateFinishedTrialError


def this_worker() -> str:
    """Host, process and its start: what tells a worker from all others, and a living one from a dead."""
    process = psutil.Process()
    return f"{socket.gethostname()} {process.pid} {process.create_time():.1f}"


def dead_here(worker: str) -> bool:
    """True for a worker of this host whose process is gone; of those on other hosts nothing is known."""
    host, pid, began = worker.split(" ")
    if host != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(pid))
        return abs(process.create_time() - float(began)) > 1.0 or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Queue:
    """A study whose trials are planned as tickets, taken by one worker each, and planned again when it dies."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        directions: int = 1,
        sampler: optuna.samplers.BaseSampler | None = None,
        pruner: optuna.pruners.BasePruner | None = None,
    ) -> None:
        self.storage, self.name = storage, name
        chosen = sampler or optuna.samplers.RandomSampler(seed=0)
        with contextlib.suppress(DuplicatedStudyError):  # two workers may open a new one at once
            optuna.create_study(study_name=name, storage=storage, directions=["minimize"] * directions)
        self.study = optuna.load_study(
            study_name=name, storage=storage, sampler=chosen, pruner=pruner or optuna.pruners.NopPruner()
        )

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Tickets in these states, or in all. What no ticket was given for is left out."""
        found = self.study.get_trials(deepcopy=False, states=states or None)
        return [trial for trial in found if TICKET in trial.user_attrs]

    @property
    def waiting(self) -> int:
        """Tickets that nobody has taken yet."""
        return len(self.trials(TrialState.WAITING))

    @property
    def open(self) -> int:
        """Tickets that wait or are being worked on."""
        return len(self.trials(TrialState.WAITING, TrialState.RUNNING))

    def plan(self, ticket: str, params: dict[str, Any] | None = None, **attrs: Any) -> None:
        """One more ticket, with some or all of its params fixed."""
        self.study.enqueue_trial(params or {}, user_attrs={TICKET: ticket} | attrs)

    def withdraw(self, count: int) -> None:
        """Take back tickets that nobody has taken, the latest first, baselines last."""
        waiting = self.trials(TrialState.WAITING)[::-1]
        for trial in sorted(waiting, key=lambda trial: DESIGN in trial.user_attrs)[:count]:
            with contextlib.suppress(TakenAway):
                self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def take(self, worker: str) -> Ticket | None:
        """The next ticket, or none when nothing waits; a ticket is given to one worker only.

        As Optuna's `ask`, but that no trial is made that nobody planned, and that the worker is known before it draws.
        """
        try:
            taken = self.study._pop_waiting_trial_id()
            if taken is None:
                return None
            self.storage.record_heartbeat(taken)  # first: whoever dies before its name is written is missed by this
            self.storage.set_trial_user_attr(taken, WORKER, worker)
            self.study._thread_local.cached_all_trials = None
            return optuna.Trial(self.study, taken)
        except TakenAway:
            return None

    def finish(self, trial: Ticket, kept: dict[str, str], values: list[float] | None, pruned: bool) -> bool:
        """Keep what became of a ticket, then tell its end; whoever finds it half told, tells the rest.

        The kept comes last: where it is, all is there; where it is not, the ticket is planned again.
        """
        try:
            trial.set_user_attr(TOLD, [values, pruned, list(kept)])
            for name, value in kept.items():
                trial.set_user_attr(name, value)
        except TakenAway:
            return False
        return self.tell(trial.number, values, pruned)

    def tell(self, number: int, values: list[float] | None, pruned: bool = False) -> bool:
        """How a trial ended: with values, pruned, or (neither) failed. False where others had given it up before."""
        state = TrialState.COMPLETE if values is not None else TrialState.PRUNED if pruned else TrialState.FAIL
        try:
            self.study.tell(number, values, state=state)
        except (TakenAway, ValueError):
            return False
        return True

    def give_back(self, trial: FrozenTrial | Ticket) -> bool:
        """Plan again what a worker left, or tell its end where that was all that was missing."""
        values, pruned, *kept = trial.user_attrs.get(TOLD, (None, False, ["nothing was told"]))
        if not kept or all(name in trial.user_attrs for name in kept[0]):
            return self.tell(trial.number, values, pruned)
        if not self.tell(trial.number, None):
            return False
        self._plan_again(self.storage.get_trial(trial._trial_id))
        return True

    @contextlib.contextmanager
    def alive(self, trial: Ticket) -> Iterator[None]:
        """Signs of life while a ticket is being worked on."""
        done = threading.Event()

        def beat() -> None:
            while True:
                with contextlib.suppress(Exception):  # the work itself will meet the same trouble, and say it
                    self.storage.record_heartbeat(trial._trial_id)
                if done.wait(self.storage.beat):
                    return

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()

    def bury(self) -> int:
        """Plan again what dead workers held; answers how many. A ticket that outlived ATTEMPTS workers comes anew."""
        stale = set(self.storage._get_stale_trial_ids(self.study._study_id)) if self.storage.settled else set()
        buried = 0
        for trial in self.trials(TrialState.RUNNING):
            worker = trial.user_attrs.get(WORKER)
            dead = dead_here(worker) if worker else not _young(trial)
            if dead or trial._trial_id in stale:
                buried += self.give_back(trial)
        return buried

    def _plan_again(self, trial: FrozenTrial) -> None:
        attrs = {name: value for name, value in trial.user_attrs.items() if name in KEPT_AT_RETRY}
        attempt = trial.user_attrs.get(ATTEMPT, 1) + 1
        params = trial.system_attrs.get("fixed_params", {}) | trial.params
        if attempt > ATTEMPTS:
            attempt, params = 1, {}
            attrs["gave_up"] = attrs.get("gave_up", 0) + 1
        self.study.enqueue_trial(params, user_attrs=attrs | {ATTEMPT: attempt})


def _young(trial: FrozenTrial) -> bool:
    """Taken a moment ago: its worker may not have written its name yet."""
    began = trial.datetime_start
    return began is not None and time.time() - began.timestamp() < YOUNG
