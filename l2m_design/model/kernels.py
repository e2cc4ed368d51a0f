"""Kernels: the few functions that do a mixer's heavy work, in torch here, replaceable by faster equals."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from l2m_design.model.banded import banded_attention
from l2m_design.model.delta_rule import delta_scan
from l2m_design.model.lifetimes import held_attention
from l2m_design.model.selective import selective_scan
from l2m_design.model.ssd import chunked_scan

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
DeltaScan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
CausalAttention = Callable[[Tensor, Tensor, Tensor], Tensor]
BandAttention = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]
HeldAttention = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[b h t v] full causal attention of query [b h t k] over key [b g t k], value [b g t v] of the same tokens."""
    share = query.shape[1] // key.shape[1]
    key, value = (z.repeat_interleave(share, dim=1) if share > 1 else z for z in (key, value))
    wider = query.shape[-1] - value.shape[-1]
    y = F.scaled_dot_product_attention(query, key, F.pad(value, (0, wider)) if wider else value, is_causal=True)
    return y[..., : value.shape[-1]]


@dataclass(frozen=True)
class Kernels:
    """What computes: torch unless another backend was probed and chosen (see probes).

    causal: full attention over a fresh sequence. window: the same over a band with sinks. held:
    over what lifetimes leave. state_space: Mamba-2's scan. selective: Mamba-1's scan. delta: the gated delta rule.
    """

    causal: CausalAttention = causal_attention
    window: BandAttention = banded_attention
    held: HeldAttention = held_attention
    state_space: Scan = chunked_scan
    selective: Scan = selective_scan
    delta: DeltaScan = delta_scan


TORCH = Kernels()
