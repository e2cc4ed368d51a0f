"""Jobs on this machine: a process each, on GPUs of its own or on its share of the CPU's threads."""

from dataclasses import dataclass, replace

from l2m_design.errors import BadInput
from l2m_design.model.backends import gpus, usable_cores
from l2m_design.search.executors import processes
from l2m_design.search.executors.base import Callbacks, Executor
from l2m_design.search.executors.processes import Job, Outcome
from l2m_design.search.settings import StudySettings


@dataclass(frozen=True)
class Place:
    """Where the jobs of a slot compute: device and CPU threads (none: as many as there are)."""

    device: str
    threads: int | None


def places(settings: StudySettings) -> list[Place]:
    """One place a slot: GPUs dealt out in turn, as many as a trial takes, or the CPU's threads divided.

    Raises BadInput where a trial asks for more GPUs than there are.
    """
    count, each = settings.workers, settings.gpus_per_trial
    here = Place(settings.device, settings.threads)
    there = gpus() if settings.device in ("auto", "cuda") else 0
    if there:
        if each > there:
            raise BadInput(f"gpus_per_trial: found {each}, but this machine has {there} GPUs")
        shares = there // each
        return [replace(here, device=f"cuda:{index % shares * each}") for index in range(count)]
    if count > 1 and settings.threads is None:
        here = replace(here, threads=max(1, usable_cores() // count))
    return [here] * count


def local_executor(settings: StudySettings) -> Executor:
    """Processes on this machine, one a slot. Raises BadInput where there are too few GPUs."""
    own = places(settings)

    def run(slot: int, job: Job, calls: Callbacks) -> Outcome:
        placed = replace(job, device=own[slot].device, threads=own[slot].threads)
        return processes.run_stubbornly(placed, calls.on_rung, calls.on_step, calls.stopped)

    return Executor(len(own), run)
