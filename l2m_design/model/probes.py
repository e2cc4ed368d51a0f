"""Probes: which faster kernels are installed, load, and compute what the torch forms compute on a device.

A candidate serves inputs of one dtype, and only after real calls, forward and backward, agreed with torch's in float32
(1e-4 in float32, 2e-2 in bfloat16, relative to the largest value) and took no longer. Each is probed in a process of
its own (see probing) within LIMIT seconds, once for a GPU, its driver and the versions (see remembered). Whatever goes
wrong is one sentence, and torch does the work.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import torch

from l2m_design.architecture import Architecture
from l2m_design.errors import first_line
from l2m_design.model.candidates import CANDIDATES, Candidate
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.probed_sizes import Sizes, plain, sizes_of
from l2m_design.model.probing import ATTENTION, MARK, Probe, dtype_name, fitting, unseen
from l2m_design.model.remembered import place, remember, remembered

LIMIT = 60.0  # seconds that a candidate may take, starting Python and compiling included
SIDE_BY_SIDE = 4  # candidates probed at a time
TRAINED = torch.bfloat16  # on GPUs, by autocast


@dataclass(frozen=True)
class Dispatch:
    """A field of Kernels that calls the form probed for the inputs' dtype where it fits their shapes, else torch's."""

    torch_form: Callable[..., Any]
    decides: int
    fast: tuple[tuple[Candidate, Callable[..., Any]], ...]

    def __call__(self, *inputs: Any) -> Any:
        """What torch's form returns, within the tolerances."""
        for candidate, function in self.fast:
            if inputs[self.decides].dtype == candidate.dtype and candidate.fits(*inputs):
                return function(*inputs)
        return self.torch_form(*inputs)


class Apart:
    """A candidate that is being probed in a process of its own, from now on for `limit` seconds at most.

    One that is not installed, or has no GPU, is not tried.
    """

    def __init__(self, candidate: Candidate, device: torch.device, limit: float = LIMIT) -> None:
        self.candidate, self.limit, self._until = candidate, limit, time.monotonic() + limit
        self._out, self._said = _file(), _file()
        self._child: subprocess.Popen[bytes] | None = None
        self._probe = unseen(candidate)
        if self._probe.found and device.type == "cuda":
            self._probe = replace(self._probe, reason="starting")
            self._child = self._started(str(device))
        elif self._probe.found:
            self._probe = replace(self._probe, reason=f"not tried: needs a CUDA GPU, the device is {device.type}")

    def _started(self, device: str) -> subprocess.Popen[bytes]:
        candidate, seconds = self.candidate, self.limit + 10  # that it ends after by itself, should this process die
        sizes = json.dumps(plain(candidate.sizes))
        words = [candidate.name, candidate.field, dtype_name(candidate), device, str(seconds), sizes]
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join(path for path in (root, os.environ.get("PYTHONPATH")) if path)
        return subprocess.Popen(
            [sys.executable, "-m", "l2m_design.model.probing", *words],
            env=os.environ | {"PYTHONPATH": paths}, stdout=self._out, stderr=self._said, start_new_session=True,
        )  # fmt: skip

    def wait(self) -> Probe:
        """The probe, at the limit at the latest."""
        if self._child is None:
            return self._probe
        try:
            code = self._child.wait(max(0.0, self._until - time.monotonic()))
            self._probe = self._crashed(code) if code else self._last()
        except subprocess.TimeoutExpired:
            last = self._last()
            reason = f"{last.reason}: stopped after {self.limit:.0f} s"
            self._probe = replace(last, used=False, reason=reason, stopped=True)
        finally:
            self.stop()
        return self._probe

    def stop(self) -> None:
        """End the process, and the compilers that it started."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._child = None

    def _last(self) -> Probe:
        self._out.seek(0)
        told = [line.removeprefix(MARK) for line in self._out if line.startswith(MARK)]
        return Probe(**json.loads(told[-1])) if told else self._probe

    def _crashed(self, code: int) -> Probe:
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        reason = f"{self._last().reason}: the process crashed ({how}){': ' + lines[-1] if lines else ''}"
        return replace(self._last(), used=False, reason=reason, wrong=True)


def _file() -> IO[str]:
    """A file without a name, for what a process prints: a pipe would stay open while its compilers live."""
    return tempfile.TemporaryFile("w+")


@contextlib.contextmanager
def side_by_side(candidates: Iterable[Candidate], device: torch.device, limit: float = LIMIT) -> Iterator[list[Apart]]:
    """Candidates that are probed at the same time; what still runs at the end is stopped."""
    begun: list[Apart] = []
    try:
        begun.extend(Apart(candidate, device, limit) for candidate in candidates)
        yield begun
    finally:
        for each in begun:
            each.stop()


def probe_all(
    candidates: Sequence[Candidate], device: torch.device, fresh: bool = False, fixed: Iterable[Probe] = ()
) -> list[Probe]:
    """Each candidate's probe: one of `fixed` that was made on such a device, else from the cache unless `fresh`, else
    made and cached, SIDE_BY_SIDE at a time.
    """
    known = {} if fresh else {c: probe for c in candidates if (probe := remembered(c, device))}
    here = place(device)
    made = {probe.what: probe for probe in fixed if probe.on == here}
    known |= {c: made[what] for c in candidates if (what := unseen(c).what) in made}
    lacking = [candidate for candidate in candidates if candidate not in known]
    for at in range(0, len(lacking), SIDE_BY_SIDE):
        with side_by_side(lacking[at : at + SIDE_BY_SIDE], device) as begun:
            for each in begun:
                known[each.candidate] = replace(each.wait(), on=here)
                remember(each.candidate, device, known[each.candidate])
    return [known[candidate] for candidate in candidates]


@lru_cache(maxsize=8)
def probed(
    device: torch.device, fresh: bool = False, sizes: Sizes | None = None, fixed: tuple[Probe, ...] = ()
) -> tuple[Kernels, tuple[Probe, ...]]:
    """The kernels to use on a device, and what every candidate did there. The first that agrees serves its inputs.

    fresh: probe again what is cached. sizes: probe at these, what they are of, in the dtype that autocast trains in;
    none for all candidates at usual sizes. fixed: probes that hold for devices alike, whatever is cached.
    """
    asked = _asked(sizes)
    probes = {c: _unfit(c) for c in asked if sizes is not None and not c.sizes}
    served: set[tuple[str, torch.dtype]] = set()
    while turn := _next(asked, served, probes):
        probes |= zip(turn, probe_all(turn, device, fresh, fixed), strict=True)
        served |= {(candidate.field, candidate.dtype) for candidate in turn if probes[candidate].used}
    spared = "not needed: another one serves"
    listed = tuple(probes.get(c) or replace(unseen(c), reason=spared) for c in asked)
    return chosen(listed)


def serving(
    architecture: Architecture, device: torch.device, fixed: Iterable[Probe] = ()
) -> tuple[Kernels, tuple[Probe, ...]]:
    """The kernels to train an architecture with, probed at its own sizes; fixed: see `probed`."""
    return probed(device, False, sizes_of(architecture), tuple(fixed))


def _asked(sizes: Sizes | None) -> list[Candidate]:
    if sizes is None:
        return list(CANDIDATES)
    of = dict(sizes)
    drawn = [replace(c, sizes=of[c.field]) for c in CANDIDATES if c.field in of and c.dtype == TRAINED]
    return [replace(c, sizes=fitting(c)) for c in drawn]


def _unfit(candidate: Candidate) -> Probe:
    probe = unseen(candidate)
    return replace(probe, reason=probe.reason or "no layer fits")


def _next(
    asked: Iterable[Candidate], served: set[tuple[str, torch.dtype]], probes: dict[Candidate, Probe]
) -> list[Candidate]:
    """The first candidate that was not tried of each field and dtype that nothing serves."""
    turn: dict[tuple[str, torch.dtype], Candidate] = {}
    for candidate in asked:
        if candidate not in probes and (candidate.field, candidate.dtype) not in served:
            turn.setdefault((candidate.field, candidate.dtype), candidate)
    return list(turn.values())


def chosen(probes: Iterable[Probe]) -> tuple[Kernels, tuple[Probe, ...]]:
    """Load the kernels of all probes with `used`; return them, and the probes with the reason if one does not load."""
    fast: dict[str, list[tuple[Candidate, Callable[..., Any]]]] = {}
    listed = list(probes)
    known = {(candidate.name, candidate.field, dtype_name(candidate)): candidate for candidate in CANDIDATES}
    for at, probe in enumerate(listed):
        if not probe.used:
            continue
        candidate = known[probe.name, probe.field, probe.dtype]
        try:
            fast.setdefault(probe.field, []).append((candidate, candidate.make()))
        except Exception as error:
            listed[at] = replace(probe, used=False, reason=f"does not load: {first_line(error)}")
    fields = {
        field: Dispatch(getattr(TORCH, field), 2 if field in ATTENTION else 0, tuple(found))
        for field, found in fast.items()
        if found
    }
    return replace(TORCH, **fields), tuple(listed)


def said(probes: tuple[Probe, ...], device: torch.device) -> list[str]:
    """One sentence for each installed candidate: it is used, or why torch is used instead; none on a CPU."""
    if device.type != "cuda":
        return []
    return [
        f"{p.field} in {p.dtype} by {p.name}" + ("" if p.used else f": {p.reason}; torch is used instead")
        for p in probes
        if p.found
    ]
