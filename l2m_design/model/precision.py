"""Precision: decays, steps and states are computed in float32 at least, whatever the weights are; projections in what
autocast says.
"""

import torch
from torch import Tensor


def wide(z: Tensor) -> Tensor:
    """In float32 at least."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def as_projected(z: Tensor) -> Tensor:
    """In the dtype that autocast computes projections in, where it is on: cast once for all of them."""
    on = torch.is_autocast_enabled(z.device.type)
    return z.to(torch.get_autocast_dtype(z.device.type)) if on and z.dtype == torch.float32 else z


def held_dtype(name: str | None, weights: torch.dtype) -> torch.dtype:
    """The dtype of a recurrent state between calls: float32 at least, unless the architecture names one."""
    return torch.promote_types(weights, torch.float32) if name is None else getattr(torch, name)
