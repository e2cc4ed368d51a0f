"""Acceptance checks: guarded, timed, one row each; and the machine itself (driver, compiler, Triton, rates)."""

import gc
import importlib.util
import os
import shutil
import signal
import statistics
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from l2m_design.errors import first_line
from l2m_design.nvidia import driver
from l2m_design.settings import Json

HIGHEST_ERROR = 1e-5  # of a float32 product; TF32 has 10 bits of mantissa and errs by 1e-4 and more


class Found(NamedTuple):
    """What a check found: in words, in numbers, and whether it is right."""

    words: str
    numbers: Json = {}  # noqa: RUF012 - never changed
    works: bool = True


class Skipped(Exception):
    """A check cannot be made here; the message says why."""


class Late(Skipped):
    """A check was left out, or not brought to its end, for want of time."""


class OutOfTime(BaseException):
    """A check ran past its limit. No Exception, so that nothing inside a check swallows it."""


@dataclass(frozen=True)
class Row:
    """One check's outcome. works: none where it was skipped. seconds: that the check took. late: was it skipped for
    want of time?
    """

    section: str
    what: str
    works: bool | None
    found: str
    numbers: Json = field(default_factory=dict)
    seconds: float = 0.0
    late: bool = False

    def plain(self) -> Json:
        """JSON-ready."""
        return dict(self.__dict__)


Check = tuple[str, Callable[[], Found]]


def judge(section: str, check: Check, limit: float | None = None) -> Row:
    """Make a check: any error becomes a failed row with one line, and so does running past `limit` seconds."""
    what, make = check
    began = time.perf_counter()
    works: bool | None = False
    late, numbers = False, dict[str, object]()
    try:
        with _within(limit):
            words, numbers, works = make()
    except Skipped as reason:
        works, late, words = None, isinstance(reason, Late), f"skipped: {reason}"
    except torch.OutOfMemoryError as error:
        words = f"out of memory: {first_line(error)}"
    except OutOfTime:
        works, late, words = None, True, f"skipped: stopped after {limit:.0f} s"
    except Exception as error:  # a check must not keep the others from being made
        words = f"{type(error).__name__}: {first_line(error)}"
    took = round(time.perf_counter() - began, 3)
    _free()
    return Row(section, what, works, words, numbers, took, late)


@contextmanager
def _within(limit: float | None) -> Iterator[None]:
    """Raise OutOfTime after so many seconds; only the main thread can be interrupted."""
    if limit is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*signalled: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(limit, 0.001), 5)  # again, if a finaliser swallowed the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        try:
            torch.cuda.empty_cache()
        except RuntimeError:  # the device is lost; `alive` says so
            return


def alive(device: torch.device) -> bool:
    """Does the device still compute? After some CUDA errors nothing does until the process ends."""
    try:
        return float(torch.ones(2, device=device).sum()) == 2
    except RuntimeError:
        return False


def synchronise(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(step: Callable[[], object], device: torch.device, runs: int = 5, warm: int = 2) -> float:
    """Median milliseconds of a step by CUDA events (on a CPU by the clock), after `warm` that do not count."""
    times = []
    for turn in range(runs + warm):
        synchronise(device)
        if device.type == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            step()
            end.record()
            synchronise(device)
            took = start.elapsed_time(end)
        else:
            began = time.perf_counter()
            step()
            took = 1000 * (time.perf_counter() - began)
        if turn >= warm:
            times.append(took)
    return statistics.median(times)


def judged(section: str, checks: Iterable[Check]) -> list[Row]:
    """All checks of a section, one after the other."""
    return [judge(section, check) for check in checks]


def machine_checks(device: torch.device, small: bool = False) -> list[Check]:
    """Driver, compiler, a Triton kernel, float32 products, copies and bfloat16 products. small: sizes for a CPU."""
    return [
        ("driver and device", lambda: _device(device)),
        ("C compiler and Python headers", _compiler),
        ("a Triton kernel", lambda: _triton(device)),
        ("float32 products without TF32", lambda: _products(device, 256 if small else 2048)),
        ("copy bandwidth", lambda: _copies(device, 2**20 if small else 2**30)),
        ("bfloat16 products", lambda: _rate(device, 256 if small else 8192)),
    ]


def _device(device: torch.device) -> Found:
    numbers: Json = {"torch": torch.__version__, "cuda": torch.version.cuda, "driver": driver()}
    if device.type != "cuda":
        return Found(f"CPU; driver {driver() or 'none'}, {built()}", numbers)
    about = torch.cuda.get_device_properties(device)
    memory = about.total_memory / 2**30
    numbers |= {"name": about.name, "memory_gib": memory, "capability": f"{about.major}.{about.minor}"}
    words = (
        f"{about.name}, {memory:.0f} GiB, compute capability {about.major}.{about.minor}; driver {driver()}, {built()}"
    )
    return Found(words, numbers, torch.cuda.is_bf16_supported())


def built() -> str:
    """torch's version and the CUDA that it was built for."""
    return f"torch {torch.__version__} for CUDA {torch.version.cuda or 'none'}"


def _compiler() -> Found:
    named = [name for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name]
    compiler = next((path for path in map(shutil.which, named) if path), None)
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    words = f"compiler {compiler or 'not found'}; {header} {'found' if header.exists() else 'not found'}"
    lacking = "" if compiler and header.exists() else "; Triton and torch.compile need both"
    return Found(words + lacking, {"compiler": compiler, "headers": header.exists()}, not lacking)


def _triton(device: torch.device) -> Found:
    if device.type != "cuda":
        raise Skipped("Triton works on GPUs only")
    if importlib.util.find_spec("triton") is None:
        return Found("triton is not installed: neither FlexAttention nor torch.compile works", works=False)
    from l2m_design.model.triton_sum import triton_sum

    a, b = torch.randn(2, 100_003, device=device)
    began = time.perf_counter()
    error = float((triton_sum(a, b) - (a + b)).abs().max())
    took = time.perf_counter() - began
    return Found(f"differs by {error:.0e}; first call {took:.1f} s", {"error": error, "seconds": took}, error == 0)


def _products(device: torch.device, size: int) -> Found:
    a, b = torch.randn(2, size, size, device=device)
    exact = a.double() @ b.double()
    error = float(((a @ b).double() - exact).abs().max() / exact.abs().max())
    precision = torch.get_float32_matmul_precision()
    words = f"relative error {error:.1e}, at most {HIGHEST_ERROR:.0e}; precision {precision}"
    return Found(words, {"error": error, "precision": precision}, error <= HIGHEST_ERROR)


def _copies(device: torch.device, size: int) -> Found:
    given = torch.zeros(size // 2, dtype=torch.bfloat16, device=device)
    taken = torch.empty_like(given)
    rate = 2 * size / milliseconds(lambda: taken.copy_(given), device) / 1e6
    return Found(f"{rate:,.0f} GB/s read and written", {"gb_per_second": rate})


def _rate(device: torch.device, size: int) -> Found:
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)
    rate = 2 * size**3 / milliseconds(lambda: a @ b, device) / 1e9
    return Found(f"{rate:,.1f} TFLOP/s at {size:,}", {"tflops": rate})
