"""Checkpointed state space: Mamba-2 whose state is copied along a power law and read by attention over the copies.

A token reads its running state as Mamba-2 does, and every copy with its own C; the reads y_k = S_k C are weighed
by softmax of q · norm(y_k) over the copies and nothing (a logit of 0), and added.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from l2m_design.architecture.mixers import CheckpointedSSM
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import RMSNorm, linear
from l2m_design.model.segments import Segment, segments
from l2m_design.model.ssm import Selected, StateSpaceMixer


class Snapshots(NamedTuple):
    """ssm: [b h p n]; copies: [b k h p n]; conv: [b d_conv-1 channels]; seen: tokens read so far."""

    ssm: Tensor
    copies: Tensor
    conv: Tensor
    seen: int


class CheckpointedMixer(StateSpaceMixer):
    """Mamba-2 with copies of its past states."""

    spec: CheckpointedSSM

    def __init__(self, spec: CheckpointedSSM, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__(spec, width, out_scale, kernels)
        self.query = linear(width, self.inner)
        self.read_norm = RMSNorm(spec.head_dim)

    def empty(self, batch: int) -> Snapshots:
        """Zeros, and no copies."""
        return Snapshots(self.zeros(batch), self.zeros(batch, 0), self.conv.empty(batch), 0)

    def forward(self, x: Tensor, state: Snapshots) -> tuple[Tensor, Snapshots]:
        """See Mixer."""
        y, after = super().forward(x, state)
        return y, after._replace(seen=state.seen + x.shape[1])

    @torch.compiler.disable  # its loop over chunks would be unrolled
    def mix(self, x: Tensor, new: Selected, state: Snapshots) -> tuple[Tensor, Tensor, Tensor]:
        """See StateSpaceMixer."""
        query = F.linear(x.float(), self.query.weight.float()).unflatten(-1, (self.heads, -1))
        ssm, copies, pieces = state.ssm.float(), state.copies.float(), []
        for piece in segments(new.values, new.dt, self.rates, new.B, new.C, state.seen):
            times = torch.from_numpy(self.spec.snapshots.times(piece.first, piece.last)).to(x.device)
            grown = piece.summed.exp().transpose(1, 2)[..., None]
            y = piece.inside(piece.decays) + piece.reads(ssm[:, None])[:, 0] * grown
            states = _states(piece, ssm, times)
            ssm, copies = states[:, -1], torch.cat([copies, states[:, :-1]], dim=1)
            if copies.shape[1]:
                here = query[:, piece.first - state.seen : piece.last - state.seen]
                hidden = _hidden(piece, times, copies.shape[1])
                y = y + checkpoint(self._recalled, piece, copies, here, hidden, use_reentrant=False)
            pieces.append(y)
        return torch.cat(pieces, dim=1), ssm.to(state.ssm.dtype), copies.to(state.copies.dtype)

    def _recalled(self, piece: Segment, copies: Tensor, query: Tensor, hidden: Tensor) -> Tensor:
        """[b c h p] what the segment's tokens take from copies [b k h p n] by query [b c h p]; hidden [c k]."""
        reads = piece.reads(copies)  # [b k c h p]
        logits = (self.read_norm(reads) * query[:, None]).sum(-1) / math.sqrt(query.shape[-1])
        logits = logits.masked_fill(hidden.T[None, :, :, None], -torch.inf)
        weights = F.pad(logits, (0, 0, 0, 0, 0, 1)).softmax(1)[:, :-1]
        return (reads * weights[..., None]).sum(1)


def _states(piece: Segment, start: Tensor, times: Tensor) -> Tensor:
    """[b m+1 h p n] the states after `times` tokens and at the segment's end, from the state before it."""
    at = torch.cat([times, times.new_tensor([piece.last])]) - piece.first - 1
    grown = piece.summed[..., at].exp().transpose(1, 2)[..., None, None]
    return piece.sums(piece.decays[:, :, at].transpose(1, 2)) + start[:, None] * grown


def _hidden(piece: Segment, times: Tensor, copies: int) -> Tensor:
    """[c copies] True where a copy is not older than the reading token; the last ones were taken at `times`."""
    before = torch.arange(piece.first, piece.last, device=times.device)[:, None]
    return F.pad(times[None, :] > before, (copies - len(times), 0))
