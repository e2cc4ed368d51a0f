"""Parallel: one run over several processes of this machine, which share every batch."""

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput, WorkFailed, first_line
from l2m_design.model import LanguageModel
from l2m_design.training.ranks import ALONE, Ranks
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import Result
from l2m_design.training.run import Rung, Stopped, check_shares, follow, train

PATIENCE = timedelta(hours=1)  # the others wait so long while the first evaluates
LAST_WORDS = 5.0  # seconds in which a process that failed may say why


@dataclass(frozen=True)
class Plan:
    """What every process is told. device: "cpu", or "cuda:N", the first one's GPU (the others take those behind it).

    threads: CPU threads of each process.
    """

    architecture: Architecture
    corpus: str
    recipe: Recipe
    device: str
    threads: int
    checkpoint: Path | None = None


def check_processes(count: int, device: torch.device) -> None:
    """Raises BadInput when one run cannot have so many processes: each needs a GPU of its own where GPUs compute."""
    first = device.index or 0
    if device.type == "cuda" and torch.cuda.device_count() < first + count:
        there = torch.cuda.device_count()
        raise BadInput(f"processes: {count} asked from GPU {first} on, this machine has {there} GPUs")


def train_together(
    count: int,
    plan: Plan,
    on_rung: Callable[[Rung], bool] = lambda rung: True,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    on_ready: Callable[[], None] = lambda: None,
    checkpoint_seconds: float = 60.0,
) -> tuple[LanguageModel, Result]:
    """Train with this process as the first of `count`, as `train` does; the others end with it, however it ends.

    Raises what `train` raises, WorkFailed when another process fails.
    """
    check_shares(plan.recipe, count)
    torch.set_num_threads(plan.threads)
    with _others(count, plan) as (ranks, pipes):
        try:
            return train(
                plan.architecture,
                open_corpus(plan.corpus),
                plan.recipe,
                _device(plan, ranks),
                on_rung,
                on_step,
                on_ready,
                plan.checkpoint,
                checkpoint_seconds,
                ranks,
            )
        except RuntimeError as error:  # what torch raises when it cannot reach the others
            for rank, pipe in enumerate(pipes, 1):
                if reason := _last_words(pipe):
                    raise WorkFailed(f"process {rank + 1} of {count}: {reason}") from error
            raise


@contextlib.contextmanager
def _others(count: int, plan: Plan) -> Iterator[tuple[Ranks, list[Any]]]:
    """The other processes, up and in one group with this one; ended at the end."""
    if count == 1:
        yield ALONE, []
        return
    context: Any = multiprocessing.get_context("spawn")
    processes, pipes = [], []
    with tempfile.TemporaryDirectory(prefix="l2m-") as folder:
        meeting = str(Path(folder) / "meeting")
        try:
            for rank in range(1, count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_other, args=(theirs, meeting, Ranks(rank, count), plan), daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                pipes.append(ours)
            for rank, pipe in enumerate(pipes, 1):
                if reason := _last_words(pipe, None):
                    raise WorkFailed(f"process {rank + 1} of {count}: {reason}")
            with _group(meeting, Ranks(0, count), plan):
                yield Ranks(0, count), pipes
        finally:
            for process in processes:
                process.kill()
                process.join()


def _last_words(pipe: Any, patience: float | None = LAST_WORDS) -> str | None:
    """Why the process at the other end failed; none when it is well."""
    try:
        return pipe.recv() if pipe.poll(patience) else None
    except (EOFError, ConnectionError):
        return "it ended without a word (out of memory?)"


def _other(pipe: Any, meeting: str, ranks: Ranks, plan: Plan) -> None:
    """The whole life of a process that is not the first."""
    threading.Thread(target=_die_with_parent, args=(meeting,), daemon=True).start()
    torch.set_num_threads(plan.threads)
    pipe.send(None)
    try:
        with _group(meeting, ranks, plan):
            corpus = open_corpus(plan.corpus)
            follow(plan.architecture, corpus, plan.recipe, _device(plan, ranks), plan.checkpoint, ranks)
            pipe.poll(None)  # the first one evaluates; leaving the group earlier could break its last exchange
    except Stopped:
        return
    except Exception as error:  # any failure becomes a reason
        with contextlib.suppress(ConnectionError):
            pipe.send(f"{type(error).__name__}: {first_line(error)}")
        raise SystemExit(1) from None


def _die_with_parent(meeting: str) -> None:
    """A killed first process cannot end the others nor tidy up: each waits for its end, and follows."""
    parent: Any = multiprocessing.parent_process()
    parent.join()
    shutil.rmtree(Path(meeting).parent, ignore_errors=True)
    os._exit(1)


@contextlib.contextmanager
def _group(meeting: str, ranks: Ranks, plan: Plan) -> Iterator[None]:
    """torch's default process group, met over a file."""
    device = _device(plan, ranks)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{meeting}",
        rank=ranks.rank,
        world_size=ranks.count,
        timeout=PATIENCE,
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _device(plan: Plan, ranks: Ranks) -> torch.device:
    first = torch.device(plan.device)
    return torch.device("cuda", (first.index or 0) + ranks.rank) if first.type == "cuda" else first
