"""Workers: each trial trains in a process of its own, so that a crash costs one trial and leaves its reason."""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.corpus import open_corpus
from l2m_design.model.backends import pick_device, use_threads
from l2m_design.model.weights import save_weights
from l2m_design.training.recipe import Recipe
from l2m_design.training.run import Rung, Stopped, train

TORCH_IMPORTS_AT_FIRST_USE = "torch._dynamo"  # three seconds that every optimiser would spend again
SIGNAL_WORDS = {signal.SIGKILL: "killed (out of memory?)", signal.SIGSEGV: "crashed (segmentation fault)"}


@dataclass(frozen=True)
class Job:
    """A training run as plain values that travel to another process. weights: where to save them, if at all."""

    architecture: dict[str, Any]
    corpus: str
    recipe: dict[str, Any]
    device: str
    threads: int | None
    weights: str | None


@dataclass(frozen=True)
class Outcome:
    """result: of a finished run; stopped: told to stop at a rung; reason: why it failed."""

    result: dict[str, Any] | None = None
    stopped: bool = False
    reason: str | None = None


def run_isolated(
    job: Job,
    on_rung: Callable[[Rung], bool],
    on_step: Callable[[int, int], None] = lambda done, total: None,
    time_limit: float | None = None,
) -> Outcome:
    """Train in a child process; whatever happens to the child comes back as an Outcome."""
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, job), daemon=True)
    process.start()
    theirs.close()
    deadline = time.monotonic() + time_limit if time_limit else None
    try:
        return _listen(ours, on_rung, on_step, deadline) or Outcome(reason=_death(process))
    finally:
        ours.close()
        if process.is_alive():
            process.kill()
        process.join()


def _listen(
    ours: Connection,
    on_rung: Callable[[Rung], bool],
    on_step: Callable[[int, int], None],
    deadline: float | None,
) -> Outcome | None:
    """Serve the child until it ends; None when it went away without a word."""
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not ours.poll(left):
            return Outcome(reason="took longer than search.trial_minutes")
        try:
            kind, content = ours.recv()
            if kind == "step":
                on_step(*content)
            elif kind == "rung":
                ours.send(on_rung(content))
            else:
                assert isinstance(content, Outcome)
                return content
        except (EOFError, ConnectionError):
            return None


def _death(process: Any) -> str:
    process.join(10)
    code = process.exitcode
    if code is not None and code < 0:
        return SIGNAL_WORDS.get(signal.Signals(-code), f"killed by signal {-code}")
    return f"ended with exit code {code}"


def _context() -> Any:
    """Children fork from a clean server that has torch imported, where the system can; else they start anew."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__, TORCH_IMPORTS_AT_FIRST_USE])
    return context


def _child(connection: Connection, job: Job) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_threads(job.threads)
    last = 0.0

    def on_step(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 0.25 or done == total:
            last = time.monotonic()
            connection.send(("step", (done, total)))

    def on_rung(rung: Rung) -> bool:
        connection.send(("rung", rung))
        return bool(connection.recv())

    try:
        outcome = _train(job, on_rung, on_step)
    except Stopped:
        outcome = Outcome(stopped=True)
    except (EOFError, ConnectionError):
        return
    except Exception as error:  # the child's whole duty: turn any failure into a reason
        outcome = Outcome(reason=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    with contextlib.suppress(ConnectionError):
        connection.send(("end", outcome))


def _train(job: Job, on_rung: Callable[[Rung], bool], on_step: Callable[[int, int], None]) -> Outcome:
    architecture = Architecture.parse(job.architecture, "candidate")
    recipe = Recipe.parse(job.recipe, "recipe")
    device = pick_device(job.device)
    model, result = train(architecture, open_corpus(job.corpus), recipe, device, on_rung, on_step)
    if job.weights:
        save_weights(model, Path(job.weights))
    return Outcome(result=result.plain())
