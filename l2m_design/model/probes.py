"""Probes: which faster kernels are installed, load, and compute what the torch forms compute on a device.

A candidate is used only after a real call, forward and backward, agreed with torch (1e-4 in float32, 2e-2 in
bfloat16, relative to the largest value) and took no longer. Whatever goes wrong is one sentence, and torch does the
work.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from l2m_design.errors import first_line
from l2m_design.model.banded import banded_attention
from l2m_design.model.kernels import TORCH, Kernels

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
ATTENTION = ("causal", "window")


@dataclass(frozen=True)
class Candidate:
    """A faster form of one field of Kernels; make: imports the library and returns the function."""

    name: str
    field: str
    library: str
    make: Callable[[], Callable[..., Any]]
    dtype: torch.dtype


@dataclass(frozen=True)
class Probe:
    """What a candidate did. error: relative to torch; seconds: of the first call, compilation included; speed: times
    torch's, at a size that is worth it.
    """

    name: str
    field: str
    found: bool
    loads: bool = False
    error: float | None = None
    seconds: float | None = None
    speed: float | None = None
    used: bool = False
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(self.__dict__)


def xformers_causal() -> Callable[..., Any]:
    """xformers' causal attention in our layout."""
    from xformers.ops import LowerTriangularMask, memory_efficient_attention

    return lambda query, key, value: _time_first(
        memory_efficient_attention, query, key, value, attn_bias=LowerTriangularMask()
    )


def xformers_window() -> Callable[..., Any]:
    """xformers' local attention; torch's form where there are sinks."""
    from xformers.ops import memory_efficient_attention
    from xformers.ops.fmha.attn_bias import LocalAttentionFromBottomRightMask

    def window_attention(query: Tensor, key: Tensor, value: Tensor, window: int, sinks: int) -> Tensor:
        if sinks:
            return banded_attention(query, key, value, window, sinks)
        bias = LocalAttentionFromBottomRightMask(window_left=window - 1, window_right=0)
        return _time_first(memory_efficient_attention, query, key, value, attn_bias=bias)

    return window_attention


def flex_window() -> Callable[..., Any]:
    """torch's FlexAttention, compiled, with a block mask of the band and its sinks."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    compiled = torch.compile(flex_attention)

    @lru_cache(maxsize=32)
    def mask(t: int, window: int, sinks: int, device: torch.device) -> Any:
        def read(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (k <= q) & ((k > q - window) | (k < sinks))

        return create_block_mask(read, None, None, t, t, device=str(device))

    def window_attention(query: Tensor, key: Tensor, value: Tensor, window: int, sinks: int) -> Tensor:
        block_mask = mask(query.shape[2], window, sinks, query.device)
        grouped = query.shape[1] != key.shape[1]
        y: Tensor = compiled(
            query.to(value.dtype), key.to(value.dtype), value, block_mask=block_mask, enable_gqa=grouped
        )
        return y

    return window_attention


def mamba_state_space(dtype: torch.dtype) -> Callable[[], Callable[..., Any]]:
    """mamba-ssm's Triton scan with x, B and C in dtype; steps, decays and states stay float32."""

    def make() -> Callable[..., Any]:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

        def scan(
            x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            narrow = [z.to(dtype).contiguous() for z in (x, B, C)]
            y, last = mamba_chunk_scan_combined(
                narrow[0], dt, A, narrow[1], narrow[2], 64, initial_states=start, return_final_states=True
            )
            return y.to(x.dtype), last.float()

        return scan

    return make


def mamba_selective() -> Callable[..., Any]:
    """mamba-ssm's CUDA scan for a fresh sequence; torch's form goes on from a state."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    def scan(
        x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if start is not None:
            return TORCH.selective(x, dt, A, B, C, start)
        timed = [z.transpose(1, 2).contiguous() for z in (x, dt, B, C)]
        y, last = selective_scan_fn(timed[0], timed[1], A, timed[2], timed[3], return_last_state=True)
        return y.transpose(1, 2), last

    return scan


CANDIDATES = (
    Candidate("xformers", "causal", "xformers", xformers_causal, torch.bfloat16),
    Candidate("xformers", "window", "xformers", xformers_window, torch.bfloat16),
    Candidate("FlexAttention", "window", "torch", flex_window, torch.bfloat16),
    Candidate("mamba-ssm", "state_space", "mamba_ssm", mamba_state_space(torch.float32), torch.float32),
    Candidate("mamba-ssm, bfloat16", "state_space", "mamba_ssm", mamba_state_space(torch.bfloat16), torch.bfloat16),
    Candidate("mamba-ssm", "selective", "mamba_ssm", mamba_selective, torch.float32),
)


@lru_cache(maxsize=8)
def probed(device: torch.device) -> tuple[Kernels, tuple[Probe, ...]]:
    """The kernels to use on a device, and what every candidate did there. The first that agrees serves its field."""
    kernels, probes = TORCH, []
    for candidate in CANDIDATES:
        if getattr(kernels, candidate.field) is not getattr(TORCH, candidate.field):
            found = importlib.util.find_spec(candidate.library) is not None
            probes.append(Probe(candidate.name, candidate.field, found, reason="not needed: another one serves"))
            continue
        probe, function = try_candidate(candidate, device)
        if function is not None:
            kernels = replace(kernels, **{candidate.field: function})
        probes.append(probe)
    return kernels, tuple(probes)


def try_candidate(candidate: Candidate, device: torch.device) -> tuple[Probe, Callable[..., Any] | None]:
    """One candidate's probe, and its function when it may be used."""
    probe = Probe(candidate.name, candidate.field, importlib.util.find_spec(candidate.library) is not None)
    if not probe.found:
        return replace(probe, reason="not installed"), None
    if device.type != "cuda":
        return replace(probe, reason=f"not tried: it needs a CUDA GPU, this is {device.type}"), None
    probe, function = measured(candidate, device, probe)
    if function is None:
        return probe, None
    probe = replace(probe, speed=speed(candidate, function, device))
    if probe.speed is not None and probe.speed < 1:
        return replace(probe, used=False, reason=f"agrees, at {probe.speed:.2f} of torch's speed"), None
    return probe, function


def speed(candidate: Candidate, function: Callable[..., Any], device: torch.device) -> float:
    """Torch's time over the candidate's, forward and backward, median of five on the device."""
    torch_form = getattr(TORCH, candidate.field)
    attends = candidate.field in ATTENTION
    seconds = []
    for compute, dtype in ((torch_form, torch.bfloat16), (function, candidate.dtype)):
        tensors, rest = probe_inputs(candidate.field, device, 16)
        inputs = [z.to(dtype if attends else z.dtype).requires_grad_() for z in tensors]
        times = []
        for _ in range(7):
            torch.cuda.synchronize(device)
            began = time.perf_counter()
            outputs = compute(*inputs, *rest)
            torch.autograd.grad((outputs[0] if isinstance(outputs, tuple) else outputs).float().sum(), inputs)
            torch.cuda.synchronize(device)
            times.append(time.perf_counter() - began)
        seconds.append(statistics.median(times[2:]))
    return seconds[0] / seconds[1]


def measured(candidate: Candidate, device: torch.device, probe: Probe) -> tuple[Probe, Callable[..., Any] | None]:
    """Load a candidate, call it and hold it against torch."""
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
    """Largest difference of outputs and gradients from torch's form in float32, relative to the largest value."""
    results = []
    for compute, dtype in ((getattr(TORCH, candidate.field), torch.float32), (function, candidate.dtype)):
        tensors, rest = probe_inputs(candidate.field, device)
        if candidate.field in ATTENTION:
            tensors = [z.to(dtype) for z in tensors]
        inputs = [z.requires_grad_() for z in tensors]
        outputs = compute(*inputs, *rest)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        total = sum((z.float() * torch.linspace(-1, 1, z.numel(), device=device).view_as(z)).sum() for z in outputs[:1])
        assert isinstance(total, Tensor)
        results.append([*outputs, *torch.autograd.grad(total, inputs)])
    errors = [
        float((a - b.float()).detach().abs().max() / a.detach().abs().max().clamp(min=1e-6))
        for a, b in zip(*results, strict=True)
    ]
    return max(errors)


def probe_inputs(field: str, device: torch.device, scale: int = 1) -> tuple[list[Tensor], list[int]]:
    """Inputs of a field of Kernels: tensors in float32, 256 · scale tokens long, then plain numbers."""
    generator = torch.Generator().manual_seed(0)
    t = 256 * scale

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    if field in ATTENTION:
        tensors = [draw(2, 4, t, 32), draw(2, 2, t, 32), draw(2, 2, t, 32)]
        return tensors, [64, 0] if field == "window" else []
    if field == "selective":
        x, dt, A = draw(2, t, 16), draw(2, t, 16).sigmoid(), -draw(16, 8).exp()
        return [x, dt, A, draw(2, t, 8), draw(2, t, 8)], []
    x, dt, A = draw(2, t, 4, 16), draw(2, t, 4).sigmoid(), -draw(4).exp()
    return [x, dt, A, draw(2, t, 1, 16), draw(2, t, 1, 16)], []


def _time_first(function: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """Call a function of [b t h k] with tensors [b h t k] and [b g t k]."""
    share = query.shape[1] // key.shape[1]
    key, value = (z.repeat_interleave(share, dim=1) if share > 1 else z for z in (key, value))
    timed = (z.to(value.dtype).transpose(1, 2).contiguous() for z in (query, key, value))
    return function(*timed, **options).transpose(1, 2)
