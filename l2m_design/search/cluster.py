"""Ray's one door: workers as actors on the nodes of a cluster; lost ones are started again, the database coordinates.

`RAY_ADDRESS` names the cluster; without it Ray starts on this machine. Every node needs l2m-design installed, the
corpus, and a way to the storage (PostgreSQL; sqlite only where all nodes share this machine's disk).
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from l2m_design.errors import BadInput, WorkFailed, first_line
from l2m_design.search.join import joined
from l2m_design.search.objective import Place
from l2m_design.search.settings import StudySettings
from l2m_design.search.study.storage import Say
from l2m_design.search.worker import Worker

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


class RemoteWorker:
    """An actor: one worker of a study, from its first ticket to the study's end."""

    def __init__(self, name: str, url: str, index: int, place: dict[str, Any], grace: float) -> None:
        self._arguments = name, url, index, grace
        self._place = Place(**{**place, "folder": Path(place["folder"])})

    def work(self) -> None:
        """Take tickets until the study is finished."""
        name, url, index, grace = self._arguments
        shared = joined(name, url, lambda sentence: print(sentence, flush=True), index, grace)
        Worker(shared, self._place).run()


class RayCrew:
    """Workers on a Ray cluster, one actor each. Raises BadInput without Ray, WorkFailed where no cluster answers."""

    def __init__(self, settings: StudySettings, url: str, folder: Path, say: Say) -> None:
        try:
            import ray
        except ImportError:
            raise BadInput("executor: ray needs Ray: pip install 'l2m-design[ray]'") from None
        self._ray = ray
        self._ours = not ray.is_initialized()
        try:
            if self._ours:
                ray.init(log_to_driver=False, include_dashboard=False)
        except (ConnectionError, RuntimeError) as error:
            raise WorkFailed(f"executor: ray: no cluster answers ({first_line(error)})") from None
        there = ray.cluster_resources()
        threads = settings.threads or max(1, int(there.get("CPU", 1)) // settings.workers)
        gpus = settings.gpus_per_trial if there.get("GPU") and settings.device in ("auto", "cuda") else 0
        place = Place(settings.device, threads, settings.gpus_per_trial, folder)
        say(f"ray: {settings.workers} workers, {threads} CPU threads and {gpus} GPUs each, on {len(ray.nodes())} nodes")
        made: Any = ray.remote(RemoteWorker).options(
            num_cpus=threads, num_gpus=gpus, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
        )
        plain = asdict(place) | {"folder": str(folder)}
        self._actors: list[Any] = [
            made.remote(settings.name, url, index, plain, settings.grace_seconds)
            for index in range(1, settings.workers + 1)
        ]
        self._work: list[Any] = []

    def start(self) -> None:
        """Begin."""
        self._work = [actor.work.remote() for actor in self._actors]

    def check(self) -> None:
        """Raise what ended a worker, if something did; a lost one comes again by itself."""
        done, _ = self._ray.wait(self._work, num_returns=len(self._work), timeout=0)
        for work in done:
            try:
                self._ray.get(work)
            except self._ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from None

    def stop(self) -> None:
        """End all workers; what they were at is planned again once they count as dead."""
        for actor in self._actors:
            self._ray.kill(actor, no_restart=True)
        if self._ours:
            self._ray.shutdown()
