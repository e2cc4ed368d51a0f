"""Parallel: one run over several processes of this machine, which share every batch."""

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import ProcessException, ProcessRaisedException, start_processes

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput, WorkFailed, first_line
from l2m_design.model import LanguageModel
from l2m_design.model.probing import Probe
from l2m_design.training.ranks import ALONE, Ranks
from l2m_design.training.recipe import Recipe
from l2m_design.training.result import Result
from l2m_design.training.run import Rung, Stopped, check_shares, follow, train

PATIENCE = timedelta(hours=1)  # the others wait so long while the first evaluates
LOOK = 0.05  # seconds between two looks at processes that start
LAST_WORDS = 5.0  # seconds in which a process that failed may say why
STARTED, FINISHED = "started", "finished"  # keys of the store


@dataclass(frozen=True)
class Plan:
    """What every process is told. device: "cpu", or "cuda:N", the first one's GPU (the others take those behind it).

    threads: CPU threads of each process. tokenizer: of a text corpus, as open_corpus takes it. probes: of the kernels
    to choose from, the same in each process. shard: does each process hold its part of the model alone?
    """

    architecture: Architecture
    corpus: str
    recipe: Recipe
    device: str
    threads: int
    checkpoint: Path | None = None
    tokenizer: str | None = None
    probes: tuple[Probe, ...] | None = None
    shard: bool = False


def check_processes(count: int, device: torch.device) -> None:
    """Raises BadInput when one run cannot have so many processes: each needs a GPU of its own where GPUs compute."""
    first = device.index or 0
    if device.type == "cuda" and torch.cuda.device_count() < first + count:
        there = torch.cuda.device_count()
        raise BadInput(
            f"processes: {count} processes need {count} GPUs from GPU {first} on, but this machine has {there}"
        )


def train_together(
    count: int,
    plan: Plan,
    on_rung: Callable[[Rung], bool] = lambda rung: True,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    on_ready: Callable[[], None] = lambda: None,
    checkpoint_seconds: float = 60.0,
    *,
    on_loss: Callable[[int, float], None] | None = None,
) -> tuple[LanguageModel, Result]:
    """Train with this process as the first of `count`, as `train` does; the others end with it, however it ends.

    Raises what `train` raises, torch.OutOfMemoryError when another process's GPU is too small, WorkFailed when one
    fails otherwise.
    """
    check_shares(plan.recipe, count)
    torch.set_num_threads(plan.threads)
    with _others(count, plan) as ranks:
        return train(
            plan.architecture,
            open_corpus(plan.corpus, plan.tokenizer),
            plan.recipe,
            _device(plan, ranks),
            on_rung,
            on_step,
            on_ready,
            plan.checkpoint,
            checkpoint_seconds,
            ranks,
            plan.probes,
            on_loss=on_loss,
        )


@contextlib.contextmanager
def _others(count: int, plan: Plan) -> Iterator[Ranks]:
    """The other processes, up and in one group with this one; ended at the end. Raises WorkFailed when one fails."""
    if count == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory(prefix="l2m-") as folder:
        meeting = str(Path(folder) / "meeting")
        store = distributed.FileStore(meeting, count)  # type: ignore[attr-defined]
        others = start_processes(_other, (meeting, count, plan), count - 1, join=False, daemon=True)
        try:
            while store.add(STARTED, 0) < count - 1:
                _check(others, count, LOOK)
            ranks = Ranks(0, count, plan.shard)
            with _group(store, ranks, plan):
                yield ranks  # the others wait while it evaluates: one that left would break its last exchange
        except (WorkFailed, torch.OutOfMemoryError):
            raise
        except RuntimeError:  # what torch raises when it cannot reach the others
            _check(others, count, LAST_WORDS)
            raise
        finally:
            for process in others.processes:
                process.kill()
                process.join()


def _check(others: Any, count: int, patience: float) -> None:
    """Raises WorkFailed or torch.OutOfMemoryError when one of the others fails within so many seconds."""
    try:
        others.join(patience)
    except ProcessException as error:
        reason = "it ended without a message (out of memory?)"
        if isinstance(error, ProcessRaisedException):
            reason = str(error).strip().splitlines()[-1].partition(": ")[2]
        words = f"process {error.error_index + 2} of {count}: {reason}"
        if reason.startswith(torch.OutOfMemoryError.__name__):
            raise torch.OutOfMemoryError(words) from error
        raise WorkFailed(words) from error


def _other(index: int, meeting: str, count: int, plan: Plan) -> None:
    """The whole life of a process that is not the first.

    It has a session of its own, so that Ctrl-C reaches the first process alone; torch sends it SIGINT when that dies.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(plan.threads)
    store = distributed.FileStore(meeting, count)  # type: ignore[attr-defined]
    store.add(STARTED, 1)
    ranks = Ranks(index + 1, count, plan.shard)
    try:
        with _group(store, ranks, plan):
            corpus = open_corpus(plan.corpus, plan.tokenizer)
            follow(
                plan.architecture, corpus, plan.recipe, _device(plan, ranks), plan.checkpoint, ranks, probes=plan.probes
            )
            store.wait([FINISHED], PATIENCE)  # never set: the first process ends this one
    except Stopped:
        return
    except Exception as error:  # any failure becomes a reason
        raise WorkFailed(f"{type(error).__name__}: {first_line(error)}") from None


@contextlib.contextmanager
def _group(store: Any, ranks: Ranks, plan: Plan) -> Iterator[None]:
    """torch's default process group, met at the store of the first process."""
    device = _device(plan, ranks)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
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
