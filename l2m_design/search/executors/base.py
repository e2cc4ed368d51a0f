"""Executor: runs jobs, so many at once, and answers events; who asks for them decides what follows.

A job is a plain value. Events are steps, rungs (which wait for an answer) and ends. What differs from place to place is
one function, which runs a job in a slot: here a process (local.py), elsewhere an actor of a Ray cluster (ray.py).
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from l2m_design.search.executors.processes import Job, Outcome, Points
from l2m_design.training.run import Rung

LOOK = 0.5  # seconds
Key = int | str


@dataclass(frozen=True)
class Stepped:
    """A job trained `done` of `total` steps. points: of its training curve, since the last event of this kind."""

    key: Key
    done: int
    total: int
    points: Points


@dataclass(frozen=True)
class Looked:
    """A job reached a rung and waits for `answer(goes_on)`."""

    key: Key
    rung: Rung
    answer: Callable[[bool], None]


@dataclass(frozen=True)
class Ended:
    """A job ended, well or not."""

    key: Key
    outcome: Outcome


Event = Stepped | Looked | Ended


class Stopping(Exception):
    """The executor stops while a job waits for an answer: it is ended as it is, and its checkpoint stays."""


@dataclass(frozen=True)
class Callbacks:
    """Whom a running job calls: at a rung (answers whether to go on), after steps, and to ask whether it must end."""

    on_rung: Callable[[Rung], bool]
    on_step: Callable[[int, int, Points], None]
    stopped: Callable[[], bool]


Run = Callable[[int, Job, Callbacks], Outcome]  # one job in the slot of this number, to its end


@dataclass
class Executor:
    """`slots` jobs at once, by `run`; a thread serves each. What ends a thread is raised by `next`."""

    slots: int
    run: Run
    close: Callable[[], None] = lambda: None
    busy: int = 0
    _jobs: queue.SimpleQueue[tuple[Key, Job] | None] = field(default_factory=queue.SimpleQueue)
    _events: queue.SimpleQueue[Event | BaseException] = field(default_factory=queue.SimpleQueue)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._threads = [threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in range(self.slots)]
        for thread in self._threads:
            thread.start()

    @property
    def free(self) -> int:
        """How many jobs could begin at once."""
        return self.slots - self.busy

    def submit(self, key: Key, job: Job) -> None:
        """Run a job as soon as a slot is free."""
        self.busy += 1
        self._jobs.put((key, job))

    def next(self, timeout: float = LOOK) -> Event | None:
        """The next event; none where nothing happened in so many seconds."""
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(event, BaseException):
            raise event
        self.busy -= isinstance(event, Ended)
        return event

    def stop(self) -> None:
        """End all jobs; checkpoints of what they were at stay."""
        self._stopped.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self.close()

    def _serve(self, slot: int) -> None:
        while (asked := self._jobs.get()) and not self._stopped.is_set():
            key, job = asked
            try:
                outcome = self.run(slot, job, self._callbacks(key))
            except Stopping:
                return
            except BaseException as error:  # a thread's whole duty: hand on what ended it
                self._events.put(error)
                return
            self._events.put(Ended(key, outcome))

    def _callbacks(self, key: Key) -> Callbacks:
        return Callbacks(
            lambda rung: self._look(key, rung),
            lambda *found: self._events.put(Stepped(key, *found)),
            self._stopped.is_set,
        )

    def _look(self, key: Key, rung: Rung) -> bool:
        answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._events.put(Looked(key, rung, answers.put))
        while not self._stopped.is_set():
            try:
                return answers.get(timeout=LOOK)
            except queue.Empty:
                continue
        raise Stopping
