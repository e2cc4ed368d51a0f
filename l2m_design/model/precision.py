"""Precision: decays, steps and states are computed in float32 at least, whatever the weights are."""

import torch
from torch import Tensor


def wide(z: Tensor) -> Tensor:
    """In float32 at least."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def held_dtype(name: str | None, weights: torch.dtype) -> torch.dtype:
    """The dtype that a recurrent state is held in between calls: float32 at least unless the drawing names one."""
    return torch.promote_types(weights, torch.float32) if name is None else getattr(torch, name)
