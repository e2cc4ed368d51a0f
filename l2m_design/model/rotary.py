"""Rotary position embedding (RoFormer, arXiv 2104.09864) in the two-halves layout of Llama."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor


def rotate(parts: Sequence[Tensor], positions: Tensor, theta: float) -> list[Tensor]:
    """Each of [b h t k], of one dtype, turned by angles position · theta^(-2i/k); positions [t]. Angles in float32."""
    half = parts[0].shape[-1] // 2
    rates = theta ** (-torch.arange(half, device=positions.device, dtype=torch.float32) / half)
    angles = positions.to(torch.float32)[:, None] * rates
    cos, sin = (z.to(parts[0].dtype).repeat(1, 2) for z in (angles.cos(), angles.sin()))
    return [cast("Tensor", _Turn.apply(x, cos, sin)) for x in parts]


class _Turn(torch.autograd.Function):
    """x [b h t k] by cos and sin [t k]; the gradient is turned back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        first, second = x.chunk(2, dim=-1)
        return torch.cat([-second, first], dim=-1).mul_(sin).add_(x * cos)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        first, second = gradients[0].chunk(2, dim=-1)
        return torch.cat([second, -first], dim=-1).mul_(sin).add_(gradients[0] * cos), None, None
