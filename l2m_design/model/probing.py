"""Probing: one candidate held against torch's form, forward and backward, then timed against it.

As a program (python -m l2m_design.model.probing NAME FIELD DTYPE DEVICE SECONDS) it prints one line before each stage
and one at the end: MARK and the probe so far as JSON. A hang, a crash or a slow compilation ends this process alone.
"""

import importlib.util
import json
import math
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.errors import first_line
from l2m_design.model.candidates import CANDIDATES, Candidate
from l2m_design.model.delta_rule import unit
from l2m_design.model.kernels import TORCH
from l2m_design.model.lifetimes import best_lifetimes
from l2m_design.settings import Json

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
ATTENTION = ("causal", "window", "held")
SCALE, LEAST_SPEED, HEAD = 16, 0.9, 64
MARK = "probe: "


@dataclass(frozen=True)
class Probe:
    """What a candidate did. error: relative to torch; seconds: of the first calls, compilation included; speed: times
    torch's, at a size that is worth it. reason: why it is not used, or the stage that it is in.
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


def unseen(candidate: Candidate) -> Probe:
    """A candidate's probe before anything was tried: is its library installed?"""
    found = importlib.util.find_spec(candidate.library) is not None
    return Probe(candidate.name, candidate.field, dtype_name(candidate), found, reason="" if found else "not installed")


def dtype_name(candidate: Candidate) -> str:
    """Such as bfloat16."""
    return str(candidate.dtype).removeprefix("torch.")


def stages(candidate: Candidate, device: torch.device) -> Iterator[Probe]:
    """The probe before each stage (`reason` names it) and at the end; the last one counts. Timed on GPUs alone."""
    probe = unseen(candidate)
    yield replace(probe, reason="loading")
    try:
        function = candidate.make()
    except Exception as error:  # a broken library may raise anything when it loads
        yield replace(probe, reason=f"does not load: {first_line(error)}")
        return
    probe = replace(probe, loads=True)
    yield replace(probe, reason="compiling")
    began = time.perf_counter()
    try:
        error_found = parity(candidate, function, device)
    except Exception as error:  # nor do kernels keep to one kind of error
        yield replace(probe, reason=f"fails: {first_line(error)}")
        return
    probe = replace(probe, error=error_found, seconds=time.perf_counter() - began)
    allowed = TOLERANCE[candidate.dtype]
    if not error_found <= allowed:
        yield replace(probe, reason=f"differs from torch by {error_found:.1e}, {allowed:.0e} is allowed")
        return
    if device.type == "cuda":
        yield replace(probe, reason="timing")
        probe = timed(probe, candidate, function, device)
    yield replace(probe, used=not probe.reason)


def timed(probe: Probe, candidate: Candidate, function: Callable[..., Any], device: torch.device) -> Probe:
    """The probe with its speed, and a reason where it is too slow or fails."""
    try:
        times = speed(candidate, function, device)
    except Exception as error:  # such as too little memory at the longer length
        return replace(probe, reason=f"fails at {256 * SCALE} tokens: {first_line(error)}")
    slow = f"agrees, at {times:.2f} of torch's speed" if times < LEAST_SPEED else ""
    return replace(probe, speed=times, reason=slow)


def speed(candidate: Candidate, function: Callable[..., Any], device: torch.device) -> float:
    """Torch's time over the candidate's, forward and backward, medians of five on the device.

    They take turns, so that what else the device does at the time slows both.
    """
    tensors, rest = probe_cases(candidate.field, device, candidate.dtype, SCALE)[0]
    forms = (getattr(TORCH, candidate.field), function)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(7):
        for compute, took in zip(forms, times, strict=True):
            _synchronise(device)
            began = time.perf_counter()
            _call(compute, tensors, rest)
            _synchronise(device)
            took.append(time.perf_counter() - began)
    return statistics.median(times[0][2:]) / statistics.median(times[1][2:])


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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


def main(words: list[str]) -> None:
    """Probe the candidate that is named; this process ends after SECONDS whatever happens."""
    name, field, dtype, device, seconds = words
    signal.alarm(math.ceil(float(seconds)))
    candidate = next(c for c in CANDIDATES if (c.name, c.field, dtype_name(c)) == (name, field, dtype))
    for probe in stages(candidate, torch.device(device)):
        print(MARK + json.dumps(probe.plain()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
