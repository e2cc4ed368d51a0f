"""Probes: which faster kernels are installed, load, and compute what the torch forms compute on a device.

A candidate serves inputs of one dtype, and only after real calls, forward and backward, agreed with torch's in float32
(1e-4 in float32, 2e-2 in bfloat16, relative to the largest value) and took no longer. Whatever goes wrong is one
sentence, and torch does the work.
"""

import importlib.util
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.errors import first_line
from l2m_design.model.candidates import CANDIDATES, Candidate
from l2m_design.model.delta_rule import unit
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.lifetimes import best_lifetimes
from l2m_design.settings import Json

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
ATTENTION = ("causal", "window", "held")
SCALE, LEAST_SPEED, HEAD = 16, 0.9, 64


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


@dataclass(frozen=True)
class Probe:
    """What a candidate did. error: relative to torch; seconds: of the first call, compilation included; speed: times
    torch's, at a size that is worth it.
    """

    name: str
    field: str
    dtype: str
    found: bool
    loads: bool = False
    error: float | None = None
    seconds: float | None = None
    speed: float | None = None
    used: bool = False
    reason: str = ""

    def plain(self) -> Json:
        """JSON-ready."""
        return dict(self.__dict__)


@lru_cache(maxsize=8)
def probed(device: torch.device) -> tuple[Kernels, tuple[Probe, ...]]:
    """The kernels to use on a device, and what every candidate did there. The first that agrees serves its inputs."""
    probes: list[Probe] = []
    fast: dict[str, list[tuple[Candidate, Callable[..., Any]]]] = {}
    for candidate in CANDIDATES:
        served = [other.dtype for other, _ in fast.get(candidate.field, [])]
        if candidate.dtype in served:
            probes.append(replace(_unseen(candidate), reason="not needed: another one serves"))
            continue
        probe, function = try_candidate(candidate, device)
        probes.append(probe)
        if function is not None:
            fast.setdefault(candidate.field, []).append((candidate, function))
    chosen = {
        field: Dispatch(getattr(TORCH, field), 2 if field in ATTENTION else 0, tuple(found))
        for field, found in fast.items()
    }
    return replace(TORCH, **chosen), tuple(probes)


def said(probes: tuple[Probe, ...], device: torch.device) -> list[str]:
    """One sentence for each candidate that serves, or that is installed and could have; none on a CPU."""
    if device.type != "cuda":
        return []
    return [
        f"{p.field} in {p.dtype} by {p.name}" + ("" if p.used else f": {p.reason}; torch computes")
        for p in probes
        if p.found
    ]


def _unseen(candidate: Candidate) -> Probe:
    found = importlib.util.find_spec(candidate.library) is not None
    return Probe(candidate.name, candidate.field, str(candidate.dtype).removeprefix("torch."), found)


def try_candidate(candidate: Candidate, device: torch.device) -> tuple[Probe, Callable[..., Any] | None]:
    """One candidate's probe, and its function when it may be used."""
    probe = _unseen(candidate)
    if not probe.found:
        return replace(probe, reason="not installed"), None
    if device.type != "cuda":
        return replace(probe, reason=f"not tried: it needs a CUDA GPU, this is {device.type}"), None
    probe, function = measured(candidate, device)
    if function is None:
        return probe, None
    try:
        probe = replace(probe, speed=speed(candidate, function, device))
    except Exception as error:  # such as too little memory at the longer length
        return replace(probe, used=False, reason=f"fails at {256 * SCALE} tokens: {first_line(error)}"), None
    if probe.speed is not None and probe.speed < LEAST_SPEED:
        return replace(probe, used=False, reason=f"agrees, at {probe.speed:.2f} of torch's speed"), None
    return probe, function


def speed(candidate: Candidate, function: Callable[..., Any], device: torch.device) -> float:
    """Torch's time over the candidate's, forward and backward, medians of five on the device."""
    seconds = []
    for compute in (getattr(TORCH, candidate.field), function):
        tensors, rest = probe_cases(candidate.field, device, candidate.dtype, SCALE)[0]
        times = []
        for _ in range(7):
            _synchronise(device)
            began = time.perf_counter()
            _call(compute, tensors, rest)
            _synchronise(device)
            times.append(time.perf_counter() - began)
        seconds.append(statistics.median(times[2:]))
    return seconds[0] / seconds[1]


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured(candidate: Candidate, device: torch.device) -> tuple[Probe, Callable[..., Any] | None]:
    """Load a candidate, call it and hold it against torch."""
    probe = _unseen(candidate)
    try:
        function = candidate.make()
    except Exception as error:  # a broken library may raise anything when it loads
        return replace(probe, reason=f"does not load: {first_line(error)}"), None
    began = time.perf_counter()
    try:
        error_found = parity(candidate, function, device)
    except Exception as error:  # nor do kernels keep to one kind of error
        return replace(probe, loads=True, reason=f"fails: {first_line(error)}"), None
    seconds = time.perf_counter() - began
    probe = replace(probe, loads=True, error=error_found, seconds=seconds)
    allowed = TOLERANCE[candidate.dtype]
    if not error_found <= allowed:
        return replace(probe, reason=f"differs from torch by {error_found:.1e}, {allowed:.0e} is allowed"), None
    return replace(probe, used=True), function


def parity(candidate: Candidate, function: Callable[..., Any], device: torch.device) -> float:
    """Largest difference of outputs and gradients from torch's form in float32, relative to the largest value.

    Infinity where anything is not a number.
    """
    errors = [0.0]
    exact = probe_cases(candidate.field, device, torch.float32)
    for given, (tensors, rest) in zip(probe_cases(candidate.field, device, candidate.dtype), exact, strict=True):
        theirs, ours = _call(function, *given), _call(getattr(TORCH, candidate.field), tensors, rest)
        for a, b in zip(ours, theirs, strict=True):
            error = float((a - b.float()).abs().max() / a.abs().max().clamp(min=1e-6))
            errors.append(error if math.isfinite(error) else math.inf)
    return max(errors)


def _call(compute: Callable[..., Any], tensors: list[Tensor], rest: list[Any]) -> list[Tensor]:
    """Outputs, and the gradients of a mixture of all of them."""
    inputs = [z.detach().requires_grad_() for z in tensors]
    outputs = compute(*inputs, *rest)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    mixed = [(z.float() * torch.linspace(-1, 1, z.numel(), device=z.device).view_as(z)).sum() for z in outputs]
    return [z.detach() for z in (*outputs, *torch.autograd.grad(sum(mixed[1:], mixed[0]), inputs))]


Case = tuple[list[Tensor], list[Any]]


def _lifetimes(score: Tensor) -> list[Any]:
    """Lifetimes of tokens with random scores [b s t] under a global budget, and their chunk."""
    return [best_lifetimes(GlobalBudget(32, "power", 0.5, 4.0), score), 32]


def probe_cases(field: str, device: torch.device, dtype: torch.dtype, scale: int = 1) -> list[Case]:
    """Inputs of a field of Kernels as mixers call it, about 256 · scale tokens long: tensors, then plain numbers."""
    generator = torch.Generator().manual_seed(0)
    t = 256 * scale

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    if field in ATTENTION:
        numbers: list[list[Any]] = [[64, 0], [50, 3]] if field == "window" else [[], []]
        if field == "held":
            numbers = [_lifetimes(draw(2, heads, n)) for heads, n in ((1, t), (2, t - 56))]
        return [
            ([draw(2, 4, n, 32).to(dtype), draw(2, 2, n, 32).to(dtype), draw(2, 2, n, 32).to(dtype)], rest)
            for n, rest in zip((t, t - 56), numbers, strict=True)
        ]
    if field == "selective":
        x, dt, A, B, C = draw(2, t, 16), draw(2, t, 16).sigmoid(), -draw(16, 8).exp(), draw(2, t, 8), draw(2, t, 8)
        return [([x.to(dtype), dt, A, B.to(dtype), C.to(dtype)], [])]
    cases: list[Case] = []
    for n, groups in ((t, 1), (t - 56, 2)):  # heads of 64: some kernels fail at whole blocks alone
        if field == "delta":
            query, key = (unit(draw(2, n, 2, HEAD)) for _ in range(2))
            tensors = [z.to(dtype) for z in (query, key, draw(2, n, 2, HEAD))]
            gates = [draw(2, n, 2).sigmoid(), -draw(2, n, 2).exp(), draw(2, 2, HEAD, HEAD)]
            cases.append((tensors + gates, []))
            continue
        x, dt, A, start = draw(2, n, 4, HEAD), draw(2, n, 4).sigmoid(), -draw(4).exp(), draw(2, 4, HEAD, HEAD)
        B, C = draw(2, n, groups, HEAD), draw(2, n, groups, HEAD)
        cases.append(([x.to(dtype), dt, A, B.to(dtype), C.to(dtype), start], []))
    return cases
