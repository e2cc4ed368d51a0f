"""Mamba-2 by chunked state space duality (arXiv 2405.21060, section 6), in torch; decays and states in float32."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.mixers import Mamba2
from l2m_design.model.mixer import Mixer, RMSNorm, linear

CHUNK = 64
DT_RANGE = (1e-3, 1e-1)
A_RANGE = (1.0, 16.0)


class Recurrence(NamedTuple):
    """ssm: [b h p n] float32; conv: [b channels d_conv-1], the last inputs of the convolution."""

    ssm: Tensor
    conv: Tensor


class Mamba2Mixer(Mixer):
    """Selective state space with one decay a head, a short convolution on x, B, C and a gated norm."""

    def __init__(self, spec: Mamba2, width: int, out_scale: float) -> None:
        super().__init__()
        self.spec = spec
        self.inner, self.heads = spec.inner(width), spec.heads(width)
        self.convolved = spec.convolved(width)
        self.into = linear(width, self.inner + self.convolved + self.heads)
        self.conv = nn.Conv1d(self.convolved, self.convolved, spec.d_conv, groups=self.convolved)
        self.norm = RMSNorm(self.inner, groups=spec.groups)
        self.out = linear(self.inner, width, out_scale)
        low, high = (math.log(edge) for edge in DT_RANGE)
        dt = torch.exp(torch.rand(self.heads) * (high - low) + low)
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(*A_RANGE).log())
        self.D = nn.Parameter(torch.ones(self.heads))

    def empty(self, batch: int) -> Recurrence:
        """Zeros."""
        like = self.D
        ssm = like.new_zeros(batch, self.heads, self.spec.head_dim, self.spec.d_state, dtype=torch.float32)
        return Recurrence(ssm, like.new_zeros(batch, self.convolved, self.spec.d_conv - 1))

    def forward(self, x: Tensor, state: Recurrence) -> tuple[Tensor, Recurrence]:
        """See Mixer."""
        gate, mixed, dt = self.into(x).split([self.inner, self.convolved, self.heads], dim=-1)
        padded = torch.cat([state.conv.to(mixed.dtype), mixed.transpose(1, 2)], dim=2)
        mixed = F.silu(self.conv(padded)).transpose(1, 2)
        values, B, C, log_decay, dt = self._selection(mixed, dt)
        with torch.autocast(x.device.type, enabled=False):
            y, ssm = chunked_scan(values * dt[..., None], log_decay, B, C, state.ssm)
        y = y + values * self.D[:, None]
        return self._close(y, gate), Recurrence(ssm, padded[:, :, 1 - self.spec.d_conv :])

    def step(self, x: Tensor, state: Recurrence) -> tuple[Tensor, Recurrence]:
        """See Mixer: h <- exp(dt A) h + dt x B^T, y = h C + D x."""
        gate, mixed, dt = self.into(x).split([self.inner, self.convolved, self.heads], dim=-1)
        padded = torch.cat([state.conv.to(mixed.dtype), mixed[:, :, None]], dim=2)
        mixed = F.silu(self.conv(padded)[:, :, 0])
        values, B, C, log_decay, dt = self._selection(mixed, dt)
        ssm = state.ssm * log_decay.exp()[..., None, None]
        ssm = ssm + (values * dt[..., None])[..., None] * B[..., None, :]
        y = (ssm * C[..., None, :]).sum(-1) + values * self.D[:, None]
        return self._close(y, gate), Recurrence(ssm, padded[:, :, 1:])

    def _selection(self, mixed: Tensor, dt: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """values [.. h p], B and C [.. h n], ln decay and dt [.. h], all float32."""
        spread = self.spec.groups * self.spec.d_state
        values, B, C = mixed.float().split([self.inner, spread, spread], dim=-1)
        share = self.heads // self.spec.groups
        B, C = (z.unflatten(-1, (self.spec.groups, -1)).repeat_interleave(share, dim=-2) for z in (B, C))
        dt = F.softplus(dt.float() + self.dt_bias)
        return values.unflatten(-1, (self.heads, -1)), B, C, -dt * self.A_log.float().exp(), dt

    def _close(self, y: Tensor, gate: Tensor) -> Tensor:
        """Gated norm and output projection; y [.. h p] -> [.. d]."""
        closed: Tensor = self.out(self.norm(y.flatten(-2).to(gate.dtype) * F.silu(gate)))
        return closed


def chunked_scan(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """h_t = exp(log_decay_t) h_{t-1} + x_t B_t^T, y_t = h_t C_t.

    x [b t h p] (already times dt), log_decay [b t h], B, C [b t h n], start [b h p n] -> y [b t h p], last h.
    Inside a chunk as attention with decays for weights, between chunks as a recurrence.
    """
    t = x.shape[1]
    size = min(CHUNK, t)
    padding = -t % size
    x, B, C = (F.pad(z, (0, 0, 0, 0, 0, padding)) for z in (x, B, C))
    log_decay = F.pad(log_decay, (0, 0, 0, padding))
    x, B, C = (z.unflatten(1, (-1, size)).transpose(2, 3) for z in (x, B, C))  # [b chunks h c .]
    summed = log_decay.unflatten(1, (-1, size)).transpose(2, 3).cumsum(-1)  # [b chunks h c]
    future = torch.ones(size, size, dtype=torch.bool, device=x.device).triu(1)
    weights = (summed[..., :, None] - summed[..., None, :]).masked_fill(future, -torch.inf).exp()
    y = (C @ B.transpose(-1, -2) * weights) @ x
    to_end = (summed[..., -1:] - summed).exp()
    added = (x * to_end[..., None]).transpose(-1, -2) @ B  # [b chunks h p n]
    decay = summed[..., -1].exp()[..., None, None]
    states, state = [], start
    for chunk in range(added.shape[1]):
        states.append(state)
        state = state * decay[:, chunk] + added[:, chunk]
    carried = (C * summed.exp()[..., None]) @ torch.stack(states, dim=1).transpose(-1, -2)
    return (y + carried).transpose(2, 3).flatten(1, 2)[:, :t], state
