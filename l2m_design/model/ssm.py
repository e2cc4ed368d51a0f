"""Mamba-2 (arXiv 2405.21060) and what its growing relatives share; decays and states in float32."""

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.mixers import Mamba2, StateSpace
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import GatedNorm, Mixer, ShortConvolution, linear, log_uniform_steps, zeros_beside
from l2m_design.model.precision import held_dtype, wide

DT_RANGE = (1e-3, 1e-1)
DT_FLOOR = 1e-4
A_RANGE = (1.0, 16.0)


class Recurrence(NamedTuple):
    """ssm: [b h p n]; conv: [b d_conv-1 channels], the last inputs of the convolution."""

    ssm: Tensor
    conv: Tensor


class Selected(NamedTuple):
    """What the tokens do to the state: values [b t h p], B and C [b t g n] in the dtype of the projections, steps dt
    [b t h] in float32; and the output's gate [b t h·p], the convolution's last inputs.
    """

    values: Tensor
    dt: Tensor
    B: Tensor
    C: Tensor
    gate: Tensor
    conv: Tensor


def projected(x: Tensor, into: nn.Linear, sizes: list[int]) -> list[Tensor]:
    """Parts of a projection, each in memory of its own: cutting one wide result costs more than cutting the weights."""
    return [F.linear(x, weight) for weight in into.weight.split(sizes)]


class StateSpaceMixer(Mixer):
    """Selective state space with one decay a head, a short convolution on x, B, C and a gated norm."""

    def __init__(self, spec: StateSpace, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__()
        self.spec, self.kernels = spec, kernels
        self.inner, self.heads = spec.inner(width), spec.heads(width)
        self.convolved = spec.convolved(width)
        self.into = linear(width, self.inner + self.convolved + self.heads)
        self.conv = ShortConvolution(self.convolved, spec.d_conv, bias=True)
        self.norm = GatedNorm(self.inner, groups=spec.groups)
        self.out = linear(self.inner, width, out_scale)
        self.dt_bias = nn.Parameter(log_uniform_steps(self.heads, *DT_RANGE, DT_FLOOR))
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(*A_RANGE).log())
        self.D = nn.Parameter(torch.ones(self.heads))

    @property
    def rates(self) -> Tensor:
        """A [h], below 0."""
        return -wide(self.A_log).exp()

    def zeros(self, batch: int, *slots: int) -> Tensor:
        """[b slots h p n] empty states."""
        shape = (batch, *slots, self.heads, self.spec.head_dim, self.spec.d_state)
        return zeros_beside(self.D, *shape, dtype=held_dtype(self.spec.state_dtype, self.D.dtype))

    def select(self, x: Tensor, before: Tensor) -> Selected:
        """Projections and convolution of x [b t d]; before: the convolution's last inputs."""
        spread = self.spec.groups * self.spec.d_state
        gate, values, reads, dt = projected(x, self.into, [self.inner, self.inner, 2 * spread, self.heads])
        (values, reads), conv = self.conv([values, reads], before)
        B, C = (z.unflatten(-1, (self.spec.groups, -1)) for z in F.silu(reads).split(spread, dim=-1))
        values = F.silu(values).unflatten(-1, (self.heads, -1))
        dt = F.softplus(wide(dt) + self.dt_bias)
        return Selected(values, dt, B, C, gate, conv)

    def scan(self, new: Selected, held: Tensor) -> tuple[Tensor, Tensor]:
        """y [b t h p] and the state after it, from one held [b h p n]: one token takes h <- exp(dt A) h + dt x B^T,
        y = h C by itself.
        """
        start = wide(held)
        if new.values.shape[1] > 1:
            y, ssm = self.kernels.state_space(new.values, new.dt, self.rates, new.B, new.C, start)
            return y, ssm.to(held.dtype)
        share = self.heads // self.spec.groups
        B, C = (wide(z[:, 0]).repeat_interleave(share, dim=1)[:, :, None] for z in (new.B, new.C))  # [b h 1 n]
        dt = new.dt[:, 0, :, None, None]
        ssm = start * (dt * self.rates[:, None, None]).exp() + wide(new.values[:, 0, ..., None]) * dt * B
        return (ssm * C).sum(-1)[:, None], ssm.to(held.dtype)

    def close(self, y: Tensor, new: Selected) -> Tensor:
        """D, gated norm and output projection; y [b t h p] -> [b t d]."""
        y = torch.addcmul(y, new.values.to(y.dtype), self.D[:, None]).flatten(-2)
        closed: Tensor = self.out(self.norm(y, new.gate))
        return closed

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """See Mixer."""
        new = self.select(x, state.conv)
        with torch.autocast(x.device.type, enabled=False):
            y, *held = self.mix(x, new, state)
        return self.close(y, new), state._replace(**dict(zip(state._fields, (*held, new.conv), strict=False)))

    @abstractmethod
    def mix(self, x: Tensor, new: Selected, state: Any) -> tuple[Any, ...]:
        """y [b t h p] and what is held after it: the state's fields before `conv`."""


class Mamba2Mixer(StateSpaceMixer):
    """One state, rewritten by every token."""

    spec: Mamba2

    def empty(self, batch: int) -> Recurrence:
        """Zeros."""
        return Recurrence(self.zeros(batch), self.conv.empty(batch))

    def mix(self, x: Tensor, new: Selected, state: Recurrence) -> tuple[Tensor, Tensor]:
        """See StateSpaceMixer."""
        return self.scan(new, state.ssm)
