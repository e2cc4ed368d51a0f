"""Checkpointed state space: Mamba-2 whose state is copied along a power law and read by attention over the copies.

A token reads its running state as Mamba-2 does, and every copy with its own C; the reads y_k = S_k C are weighed
by softmax of q · norm(y_k) over the copies and nothing (a logit of 0), and added.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from l2m_design.architecture.mixers import CheckpointedSSM
from l2m_design.architecture.mixers.base import CHUNK
from l2m_design.architecture.schedules import Integers
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import RMSNorm, linear
from l2m_design.model.precision import wide
from l2m_design.model.ssd import decay_to_end, states_before, sums, total_decay
from l2m_design.model.ssm import Selected, StateSpaceMixer

AT_ONCE, AT_ONCE_OFF_CPU = 2**20, 2**25  # numbers of what a block of tokens reads: more take memory, less take launches


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

    @torch.compiler.disable  # its loop over blocks would be unrolled
    def mix(self, x: Tensor, new: Selected, state: Copies) -> tuple[Tensor, Tensor, Tensor]:
        """See StateSpaceMixer."""
        (y, ssm), seen, t, before = self.scan(new, state.ssm), state.seen, x.shape[1], state.copies.shape[1]
        times = self.spec.snapshots.times(seen, seen + t)
        at, copies = torch.from_numpy(times).to(x.device), wide(state.copies)
        if len(times):
            ends = at - seen, int(times[-1]) - seen
            taken = wide(ssm)[:, None] if t == 1 else self._taken(new, wide(state.ssm), *ends)
            copies = torch.cat([copies, taken], dim=1)
        held = before + np.searchsorted(times, np.arange(seen, seen + t), side="right")  # which each token reads
        if held[-1]:
            y = y + self._recalled(x, new.C, copies, F.pad(at, (before, 0)), seen, held)
        return y, ssm, copies.to(state.copies.dtype)

    def _recalled(self, x: Tensor, C: Tensor, copies: Tensor, at: Tensor, seen: int, held: Integers) -> Tensor:
        """[b t h p] what tokens x [b t d] with C [b t g n] read of copies [b k h p n] of the times `at` [k]; held: how
        many of these each token reads.
        """
        query = F.linear(wide(x), wide(self.query.weight)).unflatten(-1, (self.heads, -1))
        query = (query * wide(self.read_norm.weight)).transpose(1, 2)[..., None]  # [b h t p 1]
        C = wide(C).repeat_interleave(self.heads // C.shape[2], dim=2).transpose(1, 2)  # [b h t n]
        by_head, positions = copies.transpose(1, 2).contiguous(), torch.arange(seen, seen + len(held), device=x.device)
        sizes = _blocks(held, _most(x.device) // query[:, :, 0].numel())
        parts = zip(query.split(sizes, dim=2), C.split(sizes, dim=2), positions.split(sizes), strict=True)
        y, done = [], 0
        for size, (query, C, position) in zip(sizes, parts, strict=True):
            done += size
            hidden = at[: held[done - 1]] > position[:, None]
            y.append(_again(_read, by_head, query, C, hidden, self.read_norm.eps))
        return torch.cat(y, dim=2).transpose(1, 2)

    def _taken(self, new: Selected, start: Tensor, after: Tensor, last: int) -> Tensor:
        """[b m h p n] the states after so many tokens [m] each, `last` the most, from the one before them all."""
        size = min(CHUNK, last)

        def in_chunks(z: Tensor) -> Tensor:
            return F.pad(z[:, :last], (0, 0) * (z.ndim - 2) + (0, -last % size)).unflatten(1, (-1, size))

        x, B = in_chunks(wide(new.values) * new.dt[..., None]), in_chunks(wide(new.B))
        summed = in_chunks(new.dt * self.rates).cumsum(2)
        before = states_before(sums(x * decay_to_end(summed), B), total_decay(summed), start)
        parts = after.split(max(1, _most(x.device) // x[:, 0].numel()))
        return torch.cat([_again(_copied, x, summed, B, before, part - 1) for part in parts], dim=1)


def _read(copies: Tensor, query: Tensor, C: Tensor, hidden: Tensor, eps: float) -> Tensor:
    """[b h c p] what tokens take of the first k copies [b h . p n], by query [b h c p 1], which the norm's weight has
    multiplied, and C [b h c n]; hidden [c k]: the copies that are not older than the token.
    """
    k, p = hidden.shape[1], query.shape[-2]
    reads = (C @ copies[:, :, :k].flatten(2, 3).transpose(-1, -2)).unflatten(-1, (k, p))  # [b h c k p]
    normed = torch.rsqrt(torch.linalg.vector_norm(reads, dim=-1).square() + p * eps)  # over the root of p
    logits = ((reads @ query)[..., 0] * normed).masked_fill(hidden, -torch.inf)
    weights = F.pad(logits, (0, 1)).softmax(-1)[..., None, :-1]
    return (weights @ reads)[..., 0, :]


def _copied(x: Tensor, summed: Tensor, B: Tensor, before: Tensor, at: Tensor) -> Tensor:
    """[b m h p n] the states after the tokens at [m], from the states before each chunk; see ssd for the shapes."""
    size = x.shape[2]
    x, summed, B, before = (z.index_select(1, at // size) for z in (x, summed, B, before))
    at = at % size
    grown = summed.gather(2, at[:, None, None].expand(len(x), -1, 1, x.shape[3]))
    later = torch.arange(size, device=x.device) > at[:, None]
    decays = (grown - summed).masked_fill(later[..., None], -torch.inf).exp()
    return sums(x * decays[..., None], B) + before * grown[:, :, 0, :, None, None].exp()


def _again(compute: Callable[..., Tensor], *given: Any) -> Tensor:
    """Computed a second time for the gradient, instead of keeping what it makes."""
    return cast("Tensor", checkpoint(compute, *given, use_reentrant=False, preserve_rng_state=False))


def _most(device: torch.device) -> int:
    return AT_ONCE if device.type == "cpu" else AT_ONCE_OFF_CPU


def _blocks(held: Integers, most: int) -> list[int]:
    """Sizes of blocks of tokens that read together at most so many copies, counted for each token; of a chunk at least.
    held: copies that each token reads.
    """
    sizes, first = [], 0
    while first < len(held):
        reads = np.arange(1, len(held) - first + 1) * held[first:]
        sizes.append(min(len(reads), max(CHUNK, int(np.searchsorted(reads, most, side="right")))))
        first += sizes[-1]
    return sizes
