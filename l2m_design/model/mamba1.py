"""Mamba-1 (arXiv 2312.00752): a selective state space with a decay for every channel and state."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.mixers import Mamba1
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import Mixer, ShortConvolution, linear, log_uniform_steps, zeros_beside
from l2m_design.model.precision import held_dtype, wide
from l2m_design.model.ssm import DT_FLOOR, DT_RANGE, projected


class Scanned(NamedTuple):
    """ssm: [b i n]; conv: [b d_conv-1 channels], the last inputs of the convolution; seen: tokens read so far."""

    ssm: Tensor
    conv: Tensor
    seen: int


class Mamba1Mixer(Mixer):
    """A state space of d_inner channels with d_state states each."""

    def __init__(self, spec: Mamba1, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__()
        self.spec, self.kernels = spec, kernels
        self.inner, self.rank = spec.inner(width), spec.rank(width)
        self.into = linear(width, 2 * self.inner)
        self.conv = ShortConvolution(self.inner, spec.d_conv, bias=True)
        self.selection = linear(self.inner, self.rank + 2 * spec.d_state)
        self.steps = nn.Linear(self.rank, self.inner)
        nn.init.uniform_(self.steps.weight, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            self.steps.bias.copy_(log_uniform_steps(self.inner, *DT_RANGE, DT_FLOOR))
        rates = torch.arange(1, spec.d_state + 1, dtype=torch.float32)
        self.A_log = nn.Parameter(rates.log().repeat(self.inner, 1))
        self.D = nn.Parameter(torch.ones(self.inner))
        self.out = linear(self.inner, width, out_scale)

    def empty(self, batch: int) -> Scanned:
        """Zeros."""
        shape = (batch, self.inner, self.spec.d_state)
        return Scanned(
            zeros_beside(self.D, *shape, dtype=held_dtype(self.spec.state_dtype, self.D.dtype)),
            self.conv.empty(batch),
            0,
        )

    def forward(self, x: Tensor, state: Scanned) -> tuple[Tensor, Scanned]:
        """See Mixer."""
        mixed, gate = projected(x, self.into, [self.inner, self.inner])
        (mixed,), conv = self.conv([mixed], state.conv)
        mixed = F.silu(mixed)
        dt, B, C = self.selection(mixed).split([self.rank, self.spec.d_state, self.spec.d_state], dim=-1)
        with torch.autocast(x.device.type, enabled=False):
            dt = F.softplus(F.linear(wide(dt), wide(self.steps.weight), wide(self.steps.bias)))
            A = -wide(self.A_log).exp()
            start = wide(state.ssm) if state.seen else None  # kernels begin from nothing only
            y, ssm = self.kernels.selective(mixed, dt, A, B, C, start)
            y = y + mixed * self.D
        return self.out(y.to(gate.dtype) * F.silu(gate)), Scanned(
            ssm.to(state.ssm.dtype), conv, state.seen + x.shape[1]
        )
