"""Muon on GPUs: torch's steps and states, with matrices of one shape side by side.

torch.optim.Muon launches some 26 kernels for each matrix, which take longer to start than to run.
"""

import math
from typing import Any

import torch
from torch import Tensor

from l2m_design.training.sharding import like, whole

TOGETHER = 2**26  # entries of the matrices side by side at most: their copies take memory


class BatchedMuon(torch.optim.Muon):
    """With torch's defaults: Nesterov's momentum, rates times sqrt(max(1, fan out / fan in))."""

    def __init__(self, params: list[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(params, lr=lr, momentum=momentum)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step; `closure` is not called."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape.setdefault(weight.shape, []).append(weight)
            for shape, weights in by_shape.items():
                count = max(1, TOGETHER // shape.numel())
                for first in range(0, len(weights), count):
                    self._together(weights[first : first + count], group)

    def _together(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Step weights of one shape; where they are divided among processes, each orthogonalises all of them."""
        rate, momentum = group["lr"], group["momentum"]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        for weight, gradient in zip(weights, gradients, strict=True):
            if not self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(gradient)
        held = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_lerp_(held, gradients, 1 - momentum)
        pulls = torch.stack(torch._foreach_lerp(gradients, held, momentum)).bfloat16()
        steps = orthogonal(whole(pulls), group["ns_coefficients"], group["ns_steps"], group["eps"])
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        fan_out, fan_in = weights[0].shape
        steps = like(steps.to(weights[0].dtype), pulls)
        torch._foreach_add_(weights, steps.unbind(), alpha=-rate * math.sqrt(max(1, fan_out / fan_in)))


def orthogonal(z: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """[m a b] matrices z with all singular values near 1, by torch.optim.Muon's iteration of Newton and Schulz."""
    a, b, c = coefficients
    tall = z.shape[-2] > z.shape[-1]
    z = z.mT if tall else z
    z = z / z.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = z @ z.mT
        z = torch.baddbmm(z, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), z, beta=a)
    return z.mT if tall else z
