"""Ray's one door: jobs in actors on the nodes of a cluster. A node that dies costs its running jobs, which begin anew
elsewhere, from their checkpoints where the folder of runs is shared.

`RAY_ADDRESS` names the cluster; without it Ray starts on this machine. Every node needs l2m-design installed, the
corpus, and, for checkpoints and weights, the same folder of runs.
"""

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput, WorkFailed, first_line
from l2m_design.search.executors import processes
from l2m_design.search.executors.base import LOOK, Callbacks, Executor
from l2m_design.search.executors.kernels import check_kernels
from l2m_design.search.executors.processes import ATTEMPTS, Job, Outcome
from l2m_design.search.settings import StudySettings
from l2m_design.training.run import Rung

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

CALLS_AT_ONCE = 3  # of an actor: a job, its events, an answer
Say = Callable[[str], None]


class Runner:
    """An actor: runs jobs one after another and stores their events until they are fetched."""

    def __init__(self, kernels: tuple[str, ...]) -> None:
        self._kernels, self._same = kernels, set[tuple[str, str | None]]()
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def run(self, job: Job) -> Outcome:
        """Run a job to its end. Raises BadInput where this node cannot: other corpus, no such kernel."""
        self._check(job)
        return processes.run_stubbornly(job, self._look, lambda *found: self._events.put(("step", found)))

    def take(self) -> list[tuple[str, Any]]:
        """What happened since the last call; waits a moment for something."""
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self._events.get(timeout=LOOK))
            while True:
                found.append(self._events.get_nowait())
        return found

    def answer(self, goes_on: bool) -> None:
        """To the last rung."""
        self._answers.put(goes_on)

    def node(self) -> str:
        """The id of the node it runs on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def _look(self, rung: Rung) -> bool:
        self._events.put(("rung", rung))
        return self._answers.get()

    def _check(self, job: Job) -> None:
        asked = (job.corpus, job.fingerprint)
        if asked in self._same:
            return
        check_kernels(self._kernels, job.device)
        if job.fingerprint and (found := open_corpus(job.corpus).fingerprint) != job.fingerprint:
            raise BadInput(f"corpus {job.corpus} differs on a node ({found} instead of {job.fingerprint})")
        self._same.add(asked)


class Cluster:
    """Runs a slot's jobs in an actor of a Ray cluster, which is made again when it is lost.

    Raises BadInput without Ray or where no node is large enough for a job, WorkFailed where no cluster answers.
    """

    def __init__(self, settings: StudySettings, say: Say) -> None:
        try:
            import ray
        except ImportError:
            raise BadInput("executor: ray needs the package ray: pip install ray") from None
        self._ray, self._say = ray, say
        self._actors, self._idle = list[Any](), list[tuple[Any, str]]()
        self._ours = not ray.is_initialized()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if self._ours:
                ray.init(log_to_driver=False, include_dashboard=False)
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray's own ends the process at once
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise WorkFailed(f"executor: ray: no cluster responds ({first_line(error)})") from None
        try:
            self.cpus, self.gpus = share(settings, self._nodes())
        except BadInput:
            self.close()
            raise
        self._seen, self._room, self._looking = len(self._nodes()), True, threading.Lock()
        each = f"{self.cpus} CPU threads and {self.gpus} GPUs each"
        say(f"ray: {settings.workers} jobs at once, {each}, on {self._seen} nodes")
        self._kernels = settings.search.kernels
        self._made: Any = ray.remote(Runner).options(
            num_cpus=self.cpus,
            num_gpus=self.gpus,  # of one node, so that the processes of a job share it
            max_concurrency=CALLS_AT_ONCE,
            scheduling_strategy="SPREAD",
        )

    def run(self, job: Job, calls: Callbacks) -> Outcome:
        """One job; on the loss of its actor once more, elsewhere, for as long as there is a cluster."""
        losses = 0
        while not calls.stopped():
            actor, node = self._actor(calls.stopped)
            try:
                outcome = self._followed(actor, job, calls)
                self._idle.append((actor, node))
                return outcome
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self._ray.exceptions.RayActorError:
                self._ray.kill(actor)
                lost = node not in {each["NodeID"] for each in self._ray.nodes() if each["Alive"]}
                losses += not lost
                if losses >= ATTEMPTS:
                    return Outcome(reason=f"its process was lost {losses} times (out of memory?)")
                self._say(
                    f"ray: {job.name or 'a job'} was lost with its {'node' if lost else 'process'} and is continued"
                )
            except self._ray.exceptions.RayError as error:
                raise WorkFailed(f"executor: ray: {first_line(error)}; continue with --resume") from None
        return Outcome(reason="the search was stopped")

    def _actor(self, stop: Callable[[], bool]) -> tuple[Any, str]:
        """An idle actor, else a new one once a node has room for it, whichever is there first; and its node."""
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        actor = self._made.remote(self._kernels)
        self._actors.append(actor)
        node = actor.node.remote()
        while not stop():
            if self._ray.wait([node], timeout=LOOK)[0]:
                with contextlib.suppress(self._ray.exceptions.RayActorError):
                    return actor, str(self._ray.get(node))
                actor = self._made.remote(self._kernels)  # lost before its first job
                self._actors.append(actor)
                node = actor.node.remote()
            self._look()
            with contextlib.suppress(IndexError):
                other = self._idle.pop()
                self._ray.kill(actor)
                return other
        return actor, ""

    def _followed(self, actor: Any, job: Job, calls: Callbacks) -> Outcome:
        work, taken = actor.run.remote(job), actor.take.remote()
        while not calls.stopped():
            there, _ = self._ray.wait([work, taken], timeout=LOOK)
            if taken in there:
                for kind, content in self._ray.get(taken):
                    if kind == "step":
                        calls.on_step(*content)
                    else:
                        actor.answer.remote(calls.on_rung(content))
                taken = actor.take.remote()
            if work in there:
                outcome: Outcome = self._ray.get(work)
                with contextlib.suppress(self._ray.exceptions.RayActorError):
                    self._ray.get(taken)  # steps at most; the next job's events are not for this call
                return outcome
            self._look()
        return Outcome(reason="the search was stopped")

    def _nodes(self) -> list[dict[str, float]]:
        """What each living node has."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _look(self) -> None:
        """Say in one line when nodes were lost or came, and when none is left that can hold a job."""
        with self._looking:
            nodes = self._nodes()
            if len(nodes) != self._seen:
                self._say(f"ray: the cluster has {len(nodes)} nodes, before it had {self._seen}")
                self._seen = len(nodes)
            room = any(node.get("CPU", 0) >= self.cpus and node.get("GPU", 0) >= self.gpus for node in nodes)
            if self._room and not room:
                self._say(f"ray: no node has {self.cpus} CPUs and {self.gpus} GPUs for a job; waiting for one")
            self._room = room

    def close(self) -> None:
        """End all actors, and the cluster where it was started here."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._ours:
            self._ray.shutdown()


def ray_executor(settings: StudySettings, say: Say) -> Executor:
    """Actors on a Ray cluster, one a slot."""
    cluster = Cluster(settings, say)

    def run(slot: int, job: Job, calls: Callbacks) -> Outcome:
        return cluster.run(replace(job, threads=cluster.cpus, corpus=_absolute(job.corpus)), calls)

    return Executor(settings.workers, run, cluster.close)


def _absolute(corpus: str) -> str:
    """A corpus that lies in files, by its whole path: actors work in another folder."""
    name, colon, options = corpus.partition(":")
    return f"{Path(name).resolve()}{colon}{options}" if Path(name).exists() else corpus


def share(settings: StudySettings, nodes: list[dict[str, float]]) -> tuple[int, int]:
    """CPUs and GPUs of each job: the most with which all of them find room at once.

    Raises BadInput if no node has as many.
    """
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    even = next((t for t in range(max(cpus, default=1), 1, -1) if sum(c // t for c in cpus) >= settings.workers), 1)
    threads = settings.threads or even
    gpus = max((int(node.get("GPU", 0)) for node in nodes), default=0)
    asked = settings.gpus_per_trial if settings.device == "cuda" or (gpus and settings.device == "auto") else 0
    if threads > max(cpus, default=0):
        raise BadInput(
            f"threads: {threads} CPUs per job are too many; the largest node of the Ray cluster has {max(cpus)}"
        )
    if asked > gpus:
        raise BadInput(f"gpus_per_trial: {asked} is too many; no node of the Ray cluster has more than {gpus} GPUs")
    return threads, asked
