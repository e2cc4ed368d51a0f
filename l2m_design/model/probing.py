"""Probing: one candidate held against torch's form, forward and backward, then timed against it.

As a program (python -m l2m_design.model.probing NAME FIELD DTYPE DEVICE SECONDS SIZES, the last as JSON) it prints one
line before each stage and one at the end: MARK and the probe so far as JSON. A hang, a crash or a slow compilation ends
this process alone.
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
from l2m_design.model.probed_sizes import USUAL, Size
from l2m_design.settings import Json

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
ATTENTION = ("causal", "window", "held")
SCALE, LEAST_SPEED = 16, 0.9
MARK = "probe: "


@dataclass(frozen=True)
class Probe:
    """What a candidate did. error: relative to torch; seconds: of the first calls, compilation included; speed: times
    torch's, at a length that is worth it. reason: why it is not used, or the stage that it is in. sizes: of the inputs;
    none for the usual ones. on: the device's name, once it was probed there. stopped: did it take longer than its
    limit? wrong: did it crash, fail or differ from torch? Neither is a library that does not load.
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
    sizes: str = ""
    on: str = ""
    stopped: bool = False
    wrong: bool = False

    @property
    def what(self) -> tuple[str, str, str, str]:
        """Which candidate, at which sizes."""
        return self.name, self.field, self.dtype, self.sizes

    def plain(self) -> Json:
        """JSON-ready."""
        return dict(self.__dict__)


def unseen(candidate: Candidate) -> Probe:
    """A candidate's probe before anything was tried: is its library installed?"""
    found = importlib.util.find_spec(candidate.library) is not None
    sizes = "; ".join(map(str, candidate.sizes))
    reason = "" if found else "not installed"
    return Probe(candidate.name, candidate.field, dtype_name(candidate), found, reason=reason, sizes=sizes)


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
        own = candidate.library == "torch"  # which is no option
        yield replace(probe, reason=f"does not load: {first_line(error)}", wrong=own)
        return
    probe = replace(probe, loads=True)
    yield replace(probe, reason="compiling")
    began = time.perf_counter()
    try:
        error_found = parity(candidate, function, device)
    except Exception as error:  # nor do kernels keep to one kind of error
        yield replace(probe, reason=f"fails: {first_line(error)}", wrong=True)
        return
    probe = replace(probe, error=error_found, seconds=time.perf_counter() - began)
    allowed = TOLERANCE[candidate.dtype]
    if not error_found <= allowed:
        reason = f"differs from torch by {error_found:.1e}, {allowed:.0e} is allowed"
        yield replace(probe, reason=reason, wrong=True)
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
        return replace(probe, reason=f"fails at {SCALE} times as many tokens: {first_line(error)}", wrong=True)
    slow = f"agrees, at {times:.2f} of torch's speed" if times < LEAST_SPEED else ""
    return replace(probe, speed=times, reason=slow)


def speed(candidate: Candidate, function: Callable[..., Any], device: torch.device) -> float:
    """Torch's time over the candidate's, forward and backward, medians of five on the device.

    They take turns, so that what else the device does at the time slows both.
    """
    tensors, rest = probe_cases(candidate, device, candidate.dtype, SCALE)[0]
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
    exact = probe_cases(candidate, device, torch.float32)
    for given, (tensors, rest) in zip(probe_cases(candidate, device, candidate.dtype), exact, strict=True):
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
Draw = Callable[..., Tensor]


def probe_cases(candidate: Candidate, device: torch.device, dtype: torch.dtype, scale: int = 1) -> list[Case]:
    """Inputs of a candidate's field as mixers call it: tensors, then plain numbers.

    Each of its sizes is a case, of 256 tokens or some windows or chunks, times `scale`; every second one ends 56 tokens
    earlier. A lone size is two cases.
    """
    sizes = fitting(candidate)
    sizes = sizes * 2 if len(sizes) == 1 else sizes
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    lengths = (scale * size.tokens - 56 * (number % 2) for number, size in enumerate(sizes))
    return [_CASES[candidate.field](size, n, draw, dtype) for size, n in zip(sizes, lengths, strict=True)]


def fitting(candidate: Candidate) -> tuple[Size, ...]:
    """Of a candidate's sizes those whose inputs it takes: only these does it serve."""

    def shaped(*shape: int) -> Tensor:
        return torch.empty(shape, device="meta")

    def fits(size: Size) -> bool:
        tensors, rest = _CASES[candidate.field](size, size.tokens, shaped, candidate.dtype)
        return candidate.fits(*tensors, *rest)

    return tuple(filter(fits, candidate.sizes or USUAL[candidate.field]))


def _attention(size: Size, n: int, draw: Draw, dtype: torch.dtype) -> Case:
    heads = size.groups * size.share
    shapes = ((heads, size.key), (size.groups, size.key), (size.groups, size.value))
    tensors = [draw(2, h, n, k).to(dtype) for h, k in shapes]
    if size.chunk:
        score = draw(2, 1 if n % size.chunk == 0 else size.groups, n)
        return tensors, [best_lifetimes(GlobalBudget(size.chunk, "power", 0.5, 4.0), score), size.chunk]
    return tensors, [size.window, size.sinks] if size.window else []


def _selective(size: Size, n: int, draw: Draw, dtype: torch.dtype) -> Case:
    channels, states = size.value, size.key
    x, dt, A = draw(2, n, channels), draw(2, n, channels).sigmoid(), -draw(channels, states).exp()
    return [x.to(dtype), dt, A, draw(2, n, states).to(dtype), draw(2, n, states).to(dtype)], []


def _state_space(size: Size, n: int, draw: Draw, dtype: torch.dtype) -> Case:
    heads = size.groups * size.share
    x, dt, A = draw(2, n, heads, size.value), draw(2, n, heads).sigmoid(), -draw(heads).exp()
    start = draw(2, heads, size.value, size.key)
    B, C = draw(2, n, size.groups, size.key), draw(2, n, size.groups, size.key)
    return [x.to(dtype), dt, A, B.to(dtype), C.to(dtype), start], []


def _delta(size: Size, n: int, draw: Draw, dtype: torch.dtype) -> Case:
    heads = size.groups
    query, key = (unit(draw(2, n, heads, size.key)) for _ in range(2))
    tensors = [z.to(dtype) for z in (query, key, draw(2, n, heads, size.value))]
    gates = [draw(2, n, heads).sigmoid(), -draw(2, n, heads).exp(), draw(2, heads, size.value, size.key)]
    return tensors + gates, []


_CASES = dict.fromkeys(ATTENTION, _attention) | {"selective": _selective, "state_space": _state_space, "delta": _delta}


def main(words: list[str]) -> None:
    """Probe the candidate that is named; this process ends after SECONDS whatever happens."""
    name, field, dtype, device, seconds, sizes = words
    signal.alarm(math.ceil(float(seconds)))
    candidate = next(c for c in CANDIDATES if (c.name, c.field, dtype_name(c)) == (name, field, dtype))
    candidate = replace(candidate, sizes=tuple(Size(**size) for size in json.loads(sizes)))
    for probe in stages(candidate, torch.device(device)):
        print(MARK + json.dumps(probe.plain()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
