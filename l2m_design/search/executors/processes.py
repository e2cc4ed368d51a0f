"""Processes: each job trains in one of its own, so that a crash costs one job and leaves its reason."""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.errors import Notice, first_line
from l2m_design.model import LanguageModel
from l2m_design.model.backends import pick_device, usable_cores, use_threads
from l2m_design.model.probes import serving
from l2m_design.model.probing import Probe
from l2m_design.model.weights import save_weights
from l2m_design.training.latency import timed_decoding
from l2m_design.training.parallel import Plan, check_processes, train_together
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import Rung, Stopped, train
from l2m_design.training.step import OutOfMemory

TORCH_IMPORTS_AT_FIRST_USE = "torch._dynamo"  # three seconds that every optimiser would spend again
ATTEMPTS, LOOK = 3, 0.5
DIGITS = 5  # of a loss behind the point, as a Result keeps them
STARTING = threading.Lock()
SIGNAL_WORDS = {signal.SIGKILL: "killed (out of memory?)", signal.SIGSEGV: "crashed (segmentation fault)"}


Points = list[tuple[int, float]]  # of the training curve: tokens read, nats per token


@dataclass(frozen=True)
class Job:
    """A training run as plain values that travel to another process. weights: where to save them, if at all.

    processes: how many share each batch. checkpoint: where to keep the run's state, and to go on from, if at all.
    latency: measure a decoding step. fingerprint: of the corpus, which must be the same wherever the job runs.
    seconds: that it may take, if there is a limit. name: what people call it. probes: of kernels, as the study has
    them. shard: does each process hold its part of the model alone?
    """

    architecture: dict[str, Any]
    corpus: str
    recipe: dict[str, Any]
    device: str
    threads: int | None
    weights: str | None
    processes: int = 1
    checkpoint: str | None = None
    latency: bool = False
    fingerprint: str | None = None
    seconds: float | None = None
    name: str = ""
    probes: tuple[dict[str, Any], ...] = ()
    shard: bool = False


@dataclass(frozen=True)
class Outcome:
    """result: of a finished run; stopped: told to stop at a rung; reason: why it failed; note: what a finished run
    could not keep; killed: was its process ended from outside? out_of_memory: did it need more than the GPU has?
    """

    result: dict[str, Any] | None = None
    stopped: bool = False
    reason: str | None = None
    note: str | None = None
    killed: bool = False
    out_of_memory: bool = False


def run_isolated(
    job: Job,
    on_rung: Callable[[Rung], bool],
    on_step: Callable[[int, int, Points], None] = lambda done, total, points: None,
    time_limit: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train in a child process; whatever happens to the child comes back as an Outcome.

    on_step: receives the steps done and in all, and the points of the training curve since its last call. time_limit:
    seconds from where the child is ready for its first step, so that compiling does not count. stop: asked twice a
    second; where it says so, the child is ended.
    """
    context = _context()
    ours, theirs = context.Pipe()
    alone = job.processes == 1  # a daemon may have no children
    process = context.Process(target=_child, args=(theirs, job), daemon=alone)
    _start(process)
    theirs.close()
    try:
        return _listen(ours, on_rung, on_step, time_limit, stop) or _death(process)
    finally:
        ours.close()
        if process.is_alive():
            process.kill()
        process.join()


def _listen(
    ours: Connection,
    on_rung: Callable[[Rung], bool],
    on_step: Callable[[int, int, Points], None],
    time_limit: float | None,
    stop: Callable[[], bool],
) -> Outcome | None:
    """Serve the child until it ends; None if it died without a message."""
    deadline = math.inf
    while True:
        try:
            word = ours.poll(min(LOOK, max(0.0, deadline - time.monotonic())))
            if stop():
                return Outcome(reason="the search was stopped")
            if not word:
                if time.monotonic() >= deadline:
                    return Outcome(reason="took longer than search.trial_minutes")
                continue
            kind, content = ours.recv()
            if kind == "ready":
                deadline = time.monotonic() + time_limit if time_limit else math.inf
            elif kind == "step":
                on_step(*content)
            elif kind == "rung":
                asked = time.monotonic()
                ours.send(on_rung(content))
                deadline += time.monotonic() - asked  # the wait for an answer is not the job's
            else:
                assert isinstance(content, Outcome)
                return content
        except (EOFError, ConnectionError):
            return None


def run_stubbornly(
    job: Job,
    on_rung: Callable[[Rung], bool] = lambda rung: True,
    on_step: Callable[[int, int, Points], None] = lambda done, total, points: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """As run_isolated; a child that was killed continues from its checkpoint, ATTEMPTS runs at most."""
    for _ in range(ATTEMPTS):
        outcome = run_isolated(job, on_rung, on_step, job.seconds, stop)
        if not outcome.killed or stop():
            break
    return outcome


def _start(process: Any) -> None:
    """Start a child without running the caller's script in it, guarded or not: what it runs is in this package."""
    main = vars(sys.modules["__main__"])
    with STARTING:
        script: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
        main |= dict.fromkeys(script)
        try:
            process.start()
        finally:
            main |= script


def _death(process: Any) -> Outcome:
    process.join(10)
    code = process.exitcode
    if code is not None and code < 0:
        reason = SIGNAL_WORDS.get(signal.Signals(-code), f"killed by signal {-code}")
        return Outcome(reason=reason, killed=-code in (signal.SIGKILL, signal.SIGTERM))
    return Outcome(reason=f"ended with exit code {code}")


def _context() -> Any:
    """Children fork from a clean server that has torch imported, where the system can; else they start anew."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__, TORCH_IMPORTS_AT_FIRST_USE])
    return context


def _die_with_parent() -> None:
    """A killed driver cannot end its jobs: each waits for the driver's end, and follows."""
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)


def _child(connection: Connection, job: Job) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore", Notice)  # what its parent has said
    threading.Thread(target=_die_with_parent, daemon=True).start()
    last, reached, points = 0.0, (0, 0), list[tuple[int, float]]()

    def tell() -> None:
        nonlocal last
        last = time.monotonic()
        connection.send(("step", (*reached, [*points])))
        points.clear()

    def on_step(done: int, total: int) -> None:
        nonlocal reached
        reached = done, total
        if time.monotonic() - last > 0.25 or done == total:
            tell()

    def on_loss(tokens: int, nats: float) -> None:
        points.append((tokens, round(nats, DIGITS)))

    def on_rung(rung: Rung) -> bool:
        if points:
            tell()
        connection.send(("rung", rung))
        return bool(connection.recv())

    def on_ready() -> None:
        connection.send(("ready", None))

    try:
        outcome = _train(job, on_rung, on_step, on_ready, on_loss)
    except Stopped:
        outcome = Outcome(stopped=True)
    except (EOFError, ConnectionError):
        return
    except OutOfMemory as error:
        outcome = Outcome(reason=f"out of memory: {first_line(error)}", out_of_memory=True)
    except Exception as error:  # the child's whole duty: turn any failure into a reason
        outcome = Outcome(reason=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    with contextlib.suppress(ConnectionError):
        connection.send(("end", outcome))


def _train(
    job: Job,
    on_rung: Callable[[Rung], bool],
    on_step: Callable[[int, int], None],
    on_ready: Callable[[], None],
    on_loss: Callable[[int, float], None],
) -> Outcome:
    architecture = Architecture.parse(job.architecture, "candidate")
    recipe = Recipe.parse(job.recipe, "recipe")
    checkpoint = Path(job.checkpoint) if job.checkpoint else None
    use_threads(job.threads)
    device = pick_device(job.device)
    fixed = [Probe(**probe) for probe in job.probes]
    probes = serving(architecture, device, fixed)[1] if recipe.kernels == "auto" else ()
    if job.processes == 1:
        corpus = open_corpus(job.corpus)
        model, result = train(
            architecture,
            corpus,
            recipe,
            device,
            on_rung,
            on_step,
            on_ready,
            checkpoint,
            probes=probes,
            on_loss=on_loss,
        )
    else:
        check_processes(job.processes, device)
        threads = max(1, (job.threads or usable_cores()) // job.processes)
        plan = Plan(architecture, job.corpus, recipe, str(device), threads, checkpoint, probes=probes, shard=job.shard)
        model, result = train_together(job.processes, plan, on_rung, on_step, on_ready, on_loss=on_loss)
    if job.latency:
        took = timed_decoding(model, recipe.length, device)
        result = replace(result, decode_ms=took.milliseconds, decode_graph=took.graph)
    return Outcome(result=result.plain(), note=_kept(model, job.weights))


def _kept(model: LanguageModel, weights: str | None) -> str | None:
    """Save weights; why they could not be, if so: a full disk does not cost the result."""
    try:
        if weights:
            save_weights(model, Path(weights))
    except OSError as error:
        return f"the weights could not be saved: {error.strerror or error}"
    return None
