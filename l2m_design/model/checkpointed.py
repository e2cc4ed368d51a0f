"""Checkpointed state space: Mamba-2 whose state is copied along a power law and read by attention over the copies.

A token reads its running state as Mamba-2 does, and every copy with its own C; the reads y_k = S_k C are weighed
by softmax of q · norm(y_k) over the copies and nothing (a logit of 0), and added.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from l2m_design.architecture.mixers import CheckpointedSSM
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import RMSNorm, linear
from l2m_design.model.precision import wide
from l2m_design.model.segments import Segment, segments
from l2m_design.model.ssm import Selected, StateSpaceMixer


class Copies(NamedTuple):
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

    def empty(self, batch: int) -> Copies:
        """Zeros, and no copies."""
        return Copies(self.zeros(batch), self.zeros(batch, 0), self.conv.empty(batch), 0)

    def forward(self, x: Tensor, state: Copies) -> tuple[Tensor, Copies]:
        """See Mixer."""
        y, after = super().forward(x, state)
        return y, after._replace(seen=state.seen + x.shape[1])

    @torch.compiler.disable  # its loop over chunks would be unrolled
    def mix(self, x: Tensor, new: Selected, state: Copies) -> tuple[Tensor, Tensor, Tensor]:
        """See StateSpaceMixer."""
        query = F.linear(wide(x), wide(self.query.weight)).unflatten(-1, (self.heads, -1))
        pieces = list(segments(new.values, new.dt, self.rates, new.B, new.C, state.seen))
        ends = self._ends(pieces, x.device)
        times = [end[:-1] for end in ends]
        running, taken, ssm = [], [wide(state.copies)], wide(state.ssm)
        for piece, end in zip(pieces, ends, strict=True):
            grown = piece.summed.exp().transpose(1, 2)[..., None]
            running.append(piece.inside(piece.decays) + piece.reads(ssm[:, None])[:, 0] * grown)
            states = _states(piece, ssm, end)
            ssm = states[:, -1]
            taken.append(states[:, :-1])
        copies = torch.cat(taken, dim=1) if any(len(at) for at in times) else taken[0]
        held = state.copies.shape[1]
        for index, (piece, at) in enumerate(zip(pieces, times, strict=True)):
            held += len(at)
            if held:
                here = query[:, piece.first - state.seen : piece.last - state.seen]
                given = (piece, copies[:, :held], here, _hidden(piece, at, held))
                running[index] = running[index] + checkpoint(self._recalled, *given, use_reentrant=False)
        return torch.cat(running, dim=1), ssm.to(state.ssm.dtype), copies.to(state.copies.dtype)

    def _ends(self, pieces: list[Segment], device: torch.device) -> list[Tensor]:
        """For each segment the numbers of tokens after which its state is copied, and its last; sent at once."""
        each = [np.append(self.spec.snapshots.times(piece.first, piece.last), piece.last) for piece in pieces]
        return list(torch.from_numpy(np.concatenate(each)).to(device).split([len(part) for part in each]))

    def _recalled(self, piece: Segment, copies: Tensor, query: Tensor, hidden: Tensor) -> Tensor:
        """[b c h p] what the segment's tokens take from copies [b k h p n] by query [b c h p]; hidden [c k]."""
        reads = piece.reads(copies)  # [b k c h p]
        logits = (self.read_norm(reads) * query[:, None]).sum(-1) / math.sqrt(query.shape[-1])
        logits = logits.masked_fill(hidden.T[None, :, :, None], -torch.inf)
        weights = F.pad(logits, (0, 0, 0, 0, 0, 1)).softmax(1)[:, :-1]
        return (reads * weights[..., None]).sum(1)


def _states(piece: Segment, start: Tensor, ends: Tensor) -> Tensor:
    """[b m+1 h p n] the states after so many tokens each, from the state before the segment."""
    at = ends - piece.first - 1
    grown = piece.summed[..., at].exp().transpose(1, 2)[..., None, None]
    return piece.sums(piece.decays[:, :, at].transpose(1, 2)) + start[:, None] * grown


def _hidden(piece: Segment, times: Tensor, copies: int) -> Tensor:
    """[c copies] True where a copy is not older than the reading token; the last ones were taken at `times`."""
    before = torch.arange(piece.first, piece.last, device=times.device)[:, None]
    return F.pad(times[None, :] > before, (copies - len(times), 0))
