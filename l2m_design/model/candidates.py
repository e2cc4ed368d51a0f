"""Candidates: faster kernels by FlexAttention, flash-linear-attention, mamba-ssm and xformers, imported when probed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from l2m_design.architecture.mixers.base import CHUNK
from l2m_design.model.flex import flex_held, flex_window
from l2m_design.model.kernels import TORCH
from l2m_design.model.probed_sizes import Size


@dataclass(frozen=True)
class Candidate:
    """A faster form of one field of Kernels for inputs of one dtype.

    make: imports the library and returns the function. fits: can it take inputs of these shapes? sizes: at which it
    is probed where it fits; none for the usual ones.
    """

    name: str
    field: str
    library: str
    dtype: torch.dtype
    make: Callable[[], Callable[..., Any]]
    fits: Callable[..., bool] = lambda *inputs: True
    sizes: tuple[Size, ...] = ()


def xformers_causal() -> Callable[..., Any]:
    """xformers' causal attention in our layout."""
    from xformers.ops import LowerTriangularMask, memory_efficient_attention

    return lambda query, key, value: _time_first(
        memory_efficient_attention, query, key, value, attn_bias=LowerTriangularMask()
    )


def xformers_window() -> Callable[..., Any]:
    """xformers' local attention, which has no sinks."""
    from xformers.ops import memory_efficient_attention
    from xformers.ops.fmha.attn_bias import LocalAttentionFromBottomRightMask

    def window_attention(query: Tensor, key: Tensor, value: Tensor, window: int, sinks: int) -> Tensor:
        bias = LocalAttentionFromBottomRightMask(window_left=window - 1, window_right=0)
        return _time_first(memory_efficient_attention, query, key, value, attn_bias=bias)

    return window_attention


def mamba_state_space() -> Callable[..., Any]:
    """mamba-ssm's Triton scan; steps, decays and states are float32 whatever x, B and C are."""
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    def scan(
        x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        x, B, C = (z.contiguous() for z in (x, B, C))
        y, last = mamba_chunk_scan_combined(x, dt, A, B, C, CHUNK, initial_states=start, return_final_states=True)
        return y.float(), last.float()

    return scan


def fla_state_space() -> Callable[..., Any]:
    """flash-linear-attention's linear attention with one decay a head, which Mamba-2's scan is."""
    from fla.ops.simple_gla import chunk_simple_gla

    def scan(
        x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        share, dtype = x.shape[2] // B.shape[2], x.dtype
        key, query = (z.repeat_interleave(share, dim=2) if share > 1 else z for z in (B, C))
        value = (x * dt[..., None]).to(dtype)
        held = None if start is None else start.transpose(-1, -2).contiguous()
        given = {"initial_state": held, "output_final_state": True, "scale": 1.0}
        y, last = chunk_simple_gla(query.to(dtype), key.to(dtype), value, dt * A, **given)
        return y.float(), last.transpose(-1, -2).float()

    return scan


def fla_delta() -> Callable[..., Any]:
    """flash-linear-attention's gated delta rule."""
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    def scan(
        query: Tensor, key: Tensor, value: Tensor, write: Tensor, log_decay: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        given = {"initial_state": start.transpose(-1, -2).contiguous(), "output_final_state": True, "scale": 1.0}
        y, last = chunk_gated_delta_rule(query, key, value, log_decay, write.to(value.dtype), **given)
        return y.float(), last.transpose(-1, -2).float()

    return scan


def mamba_selective() -> Callable[..., Any]:
    """mamba-ssm's CUDA scan for a fresh sequence; the torch scan if there is a state to continue from."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    def scan(
        x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if start is not None:
            return TORCH.selective(x, dt, A, B, C, start)
        x, dt, B, C = (z.to(x.dtype).transpose(1, 2).contiguous() for z in (x, dt, B, C))
        y, last = selective_scan_fn(x, dt, A, B, C, return_last_state=True)
        return y.transpose(1, 2).float(), last.float()

    return scan


def _even_heads(query: Tensor, key: Tensor, value: Tensor, window: int = 0, sinks: int = 0) -> bool:
    """xformers' kernels: one head size for keys and values, a multiple of 8; no sinks."""
    return query.shape[-1] == value.shape[-1] and query.shape[-1] % 8 == 0 and not sinks


def _wide_heads(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> bool:
    """FlexAttention: one head size, at least 16."""
    return query.shape[-1] == value.shape[-1] >= 16


def _whole_chunks(x: Tensor, *rest: Any) -> bool:
    """Chunked kernels: a chunk of tokens or more."""
    return x.shape[1] >= CHUNK


CANDIDATES = tuple(
    candidate
    for dtype in (torch.bfloat16, torch.float32)
    for candidate in (
        Candidate("xformers", "causal", "xformers", dtype, xformers_causal, _even_heads),
        Candidate("FlexAttention", "window", "torch", dtype, flex_window, _wide_heads),
        Candidate("xformers", "window", "xformers", dtype, xformers_window, _even_heads),
        Candidate("FlexAttention", "held", "torch", dtype, flex_held, _wide_heads),
        Candidate("flash-linear-attention", "state_space", "fla", dtype, fla_state_space, _whole_chunks),
        Candidate("flash-linear-attention", "delta", "fla", dtype, fla_delta, _whole_chunks),
        Candidate("mamba-ssm", "state_space", "mamba_ssm", dtype, mamba_state_space),
        Candidate("mamba-ssm", "selective", "mamba_ssm", dtype, mamba_selective),
    )
)


def _time_first(function: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """Call a function of [b t h k] with tensors [b h t k] and [b g t k], in the values' dtype."""
    share = query.shape[1] // key.shape[1]
    key, value = (z.repeat_interleave(share, dim=1) if share > 1 else z for z in (key, value))
    timed = (z.to(value.dtype).transpose(1, 2).contiguous() for z in (query, key, value))
    return function(*timed, **options).transpose(1, 2)
