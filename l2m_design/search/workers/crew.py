"""Crew: the workers of this machine, threads that each start the processes of their trials."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from l2m_design.errors import BadInput
from l2m_design.model.backends import gpus, usable_cores
from l2m_design.search.settings import StudySettings
from l2m_design.search.trials.objective import Place
from l2m_design.search.workers.worker import Worker


def places(settings: StudySettings, folder: Path) -> list[Place]:
    """One place a worker: GPUs dealt out in turn, as many as a trial takes, or the CPU's threads divided.

    Raises BadInput where a trial asks for more GPUs than there are.
    """
    count, processes = settings.workers, settings.gpus_per_trial
    here = Place(settings.device, settings.threads, processes, folder)
    there = gpus() if settings.device in ("auto", "cuda") else 0
    if there:
        if processes > there:
            raise BadInput(f"gpus_per_trial: {processes} asked, this machine has {there} GPUs")
        shares = there // processes
        return [replace(here, device=f"cuda:{index % shares * processes}") for index in range(count)]
    if count > 1 and settings.threads is None:
        here = replace(here, threads=max(1, usable_cores() // count))
    return [here] * count


class LocalCrew:
    """Threads that run workers until told to stop; what ends one of them is raised by `check`."""

    def __init__(self, hire: Callable[[int, Place], Worker], places: list[Place]) -> None:
        self._stopped = threading.Event()
        self._trouble: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(hire, index, place), daemon=True)
            for index, place in enumerate(places)
        ]

    def _work(self, hire: Callable[[int, Place], Worker], index: int, place: Place) -> None:
        try:
            hire(index, place).run(self._stopped.is_set)
        except BaseException as error:  # a thread's whole duty: hand on what ended it
            self._trouble.append(error)

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raise what ended a worker, if something did."""
        if self._trouble:
            raise self._trouble[0]

    def stop(self) -> None:
        """End all workers; what they were at is planned again."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
