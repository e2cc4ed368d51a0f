"""Gated DeltaNet (arXiv 2412.06464); decays and states in float32. The rule itself is in delta_rule."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.mixers import GatedDeltaNet
from l2m_design.model.delta_rule import unit
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import Mixer, RMSNorm, ShortConvolution, linear, log_uniform_steps, zeros_beside
from l2m_design.model.precision import held_dtype, wide
from l2m_design.model.ssm import DT_FLOOR, DT_RANGE, Recurrence, projected

A_RANGE = (1e-2, 16.0)


class DeltaMixer(Mixer):
    """Its state is a Recurrence with ssm [b h v k], the memory of each head."""

    def __init__(self, spec: GatedDeltaNet, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__()
        self.spec, self.kernels, h = spec, kernels, spec.heads
        self.sizes = [h * spec.head_dim, h * spec.head_dim, h * spec.value_dim]
        self.into = linear(width, spec.convolved + h * spec.value_dim + 2 * h)
        self.conv = ShortConvolution(spec.convolved, spec.d_conv)
        self.norm = RMSNorm(spec.value_dim)
        self.out = linear(h * spec.value_dim, width, out_scale)
        self.dt_bias = nn.Parameter(log_uniform_steps(h, *DT_RANGE, DT_FLOOR))
        self.A_log = nn.Parameter(torch.empty(h).uniform_(*A_RANGE).log())

    def empty(self, batch: int) -> Recurrence:
        """Zeros."""
        spec = self.spec
        shape = (batch, spec.heads, spec.value_dim, spec.head_dim)
        return Recurrence(
            zeros_beside(self.A_log, *shape, dtype=held_dtype(spec.state_dtype, self.A_log.dtype)),
            self.conv.empty(batch),
        )

    def forward(self, x: Tensor, state: Recurrence) -> tuple[Tensor, Recurrence]:
        """See Mixer."""
        h = self.spec.heads
        *mixed, gate, write, step = projected(x, self.into, [*self.sizes, self.sizes[2], h, h])
        mixed, conv = self.conv(mixed, state.conv)
        query, key, value = (F.silu(z).unflatten(-1, (h, -1)) for z in mixed)
        with torch.autocast(x.device.type, enabled=False):
            log_decay = -wide(self.A_log).exp() * F.softplus(wide(step) + self.dt_bias)
            query, key = (unit(wide(z)).to(z.dtype) for z in (query, key))
            given = query / math.sqrt(self.spec.head_dim), key, value, wide(write).sigmoid(), log_decay
            y, memory = self.kernels.delta(*given, wide(state.ssm))
        y = self.norm(y.to(gate.dtype)) * F.silu(gate.unflatten(-1, (h, -1)))
        return self.out(y.flatten(-2)), Recurrence(memory.to(state.ssm.dtype), conv)
