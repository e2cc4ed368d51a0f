"""Ray's one door: workers as actors on the nodes of a cluster; lost ones are started again, the database coordinates.

`RAY_ADDRESS` names the cluster; without it Ray starts on this machine. Every node needs l2m-design installed, the
corpus, and a way to the storage (PostgreSQL; sqlite only where all nodes share this machine's disk).
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from l2m_design.errors import BadInput, WorkFailed, first_line
from l2m_design.search.settings import StudySettings
from l2m_design.search.study.storage import Say
from l2m_design.search.trials.objective import Place
from l2m_design.search.workers.join import check_kernels, joined
from l2m_design.search.workers.worker import Worker

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


class RemoteWorker:
    """An actor: one worker of a study, from its first ticket to the study's end."""

    def __init__(self, name: str, url: str, index: int, place: dict[str, Any]) -> None:
        self._arguments = name, url, index
        self._place = Place(**{**place, "folder": Path(place["folder"])})

    def work(self) -> None:
        """Take tickets until the study is finished."""
        name, url, index = self._arguments
        shared = joined(name, url, lambda sentence: print(sentence, flush=True), index)
        check_kernels(shared.descriptor.settings.search.kernels, self._place.device)
        Worker(shared, self._place).run()


class RayCrew:
    """Workers on a Ray cluster, one actor each.

    Raises BadInput without Ray or where no node is large enough for a worker, WorkFailed where no cluster answers.
    """

    def __init__(self, settings: StudySettings, url: str, folder: Path, say: Say) -> None:
        try:
            import ray
        except ImportError:
            raise BadInput("executor: ray needs Ray: pip install 'l2m-design[ray]'") from None
        self._ray, self._say = ray, say
        self._actors: list[Any] = []
        self._work: list[Any] = []
        self._ours = not ray.is_initialized()
        try:
            if self._ours:
                ray.init(log_to_driver=False, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise WorkFailed(f"executor: ray: no cluster answers ({first_line(error)})") from None
        try:
            self._cpus, self._gpus = share(settings, self._nodes())
        except BadInput:
            self.stop()
            raise
        self._seen, self._room = len(self._nodes()), True
        place = Place(settings.device, self._cpus, settings.gpus_per_trial, folder)
        each = f"{self._cpus} CPU threads and {self._gpus} GPUs each"
        say(f"ray: {settings.workers} workers, {each}, on {self._seen} nodes")
        made: Any = ray.remote(RemoteWorker).options(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy="SPREAD",
        )
        plain = asdict(place) | {"folder": str(folder)}
        self._actors = [made.remote(settings.name, url, index, plain) for index in range(1, settings.workers + 1)]

    def start(self) -> None:
        """Begin."""
        self._work = [actor.work.remote() for actor in self._actors]

    def check(self) -> None:
        """Raise what ended a worker, if something did; a lost one comes again by itself, where there is room."""
        self._look()
        done, _ = self._ray.wait(self._work, num_returns=len(self._work), timeout=0)
        for work in done:
            try:
                self._ray.get(work)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self._ray.exceptions.RayError as error:
                raise WorkFailed(
                    f"executor: ray: a worker is lost ({first_line(error)}); go on with --resume"
                ) from None

    def _nodes(self) -> list[dict[str, float]]:
        """What each living node has."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _look(self) -> None:
        """Say in one line when nodes were lost or came, and when none is left that can hold a worker."""
        nodes = self._nodes()
        if len(nodes) != self._seen:
            self._say(f"ray: {len(nodes)} nodes, there were {self._seen}")
            self._seen = len(nodes)
        room = any(node.get("CPU", 0) >= self._cpus and node.get("GPU", 0) >= self._gpus for node in nodes)
        if self._room and not room:
            self._say(f"ray: no node has {self._cpus} CPUs and {self._gpus} GPUs for a worker; waiting for one")
        self._room = room

    def stop(self) -> None:
        """End all workers; what they were at is planned again once they count as dead."""
        for actor in self._actors:
            self._ray.kill(actor, no_restart=True)
        if self._ours:
            self._ray.shutdown()


def share(settings: StudySettings, nodes: list[dict[str, float]]) -> tuple[int, int]:
    """CPUs and GPUs of each worker: an even share, but no more than the largest node has.

    Raises BadInput when what is asked of a node is on none.
    """
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    threads = settings.threads or max(1, min(sum(cpus) // settings.workers, max(cpus, default=1)))
    gpus = max((int(node.get("GPU", 0)) for node in nodes), default=0)
    asked = settings.gpus_per_trial if settings.device == "cuda" or (gpus and settings.device == "auto") else 0
    if threads > max(cpus, default=0):
        raise BadInput(f"threads: {threads} CPUs a worker asked; the largest node of the Ray cluster has {max(cpus)}")
    if asked > gpus:
        raise BadInput(f"gpus_per_trial: {asked} asked; no node of the Ray cluster has more than {gpus} GPUs")
    return threads, asked
