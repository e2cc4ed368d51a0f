"""State space duality (Mamba-2, arXiv 2405.21060, section 6): the chunked scan and its gradient, in torch.

Inside a chunk this is attention with decays for weights; between chunks a recurrence of states. The
gradient keeps no decay matrix: it computes them again, and takes the decays' own gradient from
dL/da_t = <dy_t, y_t> - <x_t, dx_t>, a_t the sum of log decays from the chunk's start to t.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture.mixers.base import CHUNK
from l2m_design.model.precision import wide


@torch.compiler.disable  # its loop over chunks would be unrolled
def chunked_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y [b t h p] and the last state [b h p n], of S_t = exp(dt_t A) S_(t-1) + dt_t x_t B_t^T, y_t = S_t C_t.

    x [b t h p], dt [b t h] at least 0, A [h] below 0, B and C [b t g n] shared by h/g heads each, start
    [b h p n] or none for zeros. Computed in float32 at least, whatever the inputs are.
    """
    t = x.shape[1]
    x, B, C = (wide(z) for z in (x, B, C))
    if start is None:
        start = x.new_zeros(len(x), *x.shape[2:], B.shape[-1])
    size = min(CHUNK, t)
    x, log_decay = x * dt[..., None], dt * A
    if padding := -t % size:
        x, B, C = (F.pad(z, (0, 0, 0, 0, 0, padding)) for z in (x, B, C))
        log_decay = F.pad(log_decay, (0, 0, 0, padding))
    chunks = [z.unflatten(1, (-1, size)) for z in (x, log_decay, B, C)]
    y, last = cast("tuple[Tensor, Tensor]", _Scan.apply(*chunks, start))
    return y.flatten(1, 2)[:, :t], last


class _Scan(torch.autograd.Function):
    """x [b j c h p] (times dt), log_decay [b j c h], B, C [b j c g n], start [b h p n]; j chunks of c tokens."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        g, summed = B.shape[3], log_decay.cumsum(2)
        x_head = x.transpose(2, 3).contiguous()
        weights = per_group(decay_matrix(summed), g).mul_(scores(C, B)[:, :, :, None]).flatten(2, 3)
        inside = weights @ x_head
        added = sums(x * decay_to_end(summed), B)
        decay = total_decay(summed)
        before = _before(added, decay, start)
        last = torch.addcmul(added[:, -1], before[:, -1], decay[:, -1])
        y = torch.addcmul(inside.transpose(2, 3), reads(before, C), summed.exp()[..., None])
        ctx.save_for_backward(x_head, summed, B, C, before, y, last)
        return y, last

    @staticmethod
    def backward(ctx: Any, dy: Tensor, dlast: Tensor) -> tuple[Tensor, ...]:
        x_head, summed, B, C, before, y, last = ctx.saved_tensors
        b, j, h, _, p = x_head.shape
        g, n = B.shape[-2:]
        x, to_end = x_head.transpose(2, 3), decay_to_end(summed)
        decay = total_decay(summed)
        dy_head = dy.transpose(2, 3).contiguous()
        decays = per_group(decay_matrix(summed), g)
        dscores = per_group(dy_head @ x_head.transpose(-1, -2), g).mul_(decays).sum(3)
        weights = decays.mul_(scores(C, B)[:, :, :, None]).flatten(2, 3)
        dx_inside = weights.transpose(-1, -2) @ dy_head
        dy_grown = grouped(dy * summed.exp()[..., None], g)
        from_reads = (dy_grown.transpose(-1, -2) @ rows(C)).view(b, j, h, p, n)
        dafter, dstart = _after(from_reads, decay, dlast)
        before_flat, dafter_flat = (z.view(b, j, g, -1, n) for z in (before, dafter))
        dC = dscores @ rows(B) + dy_grown @ before_flat
        dB = dscores.transpose(-1, -2) @ rows(C) + grouped(x * to_end, g) @ dafter_flat
        dx = ungrouped(rows(B) @ dafter_flat.transpose(-1, -2), h)
        dx = torch.addcmul(dx_inside.transpose(2, 3), dx, to_end)
        dsummed = (dy * y).sum(-1) - (x * dx).sum(-1)
        dsummed[:, :-1, -1] += (dafter[:, :-1] * before[:, 1:]).sum((-1, -2))
        dsummed[:, -1, -1] += (dlast * last).sum((-1, -2))
        return dx, dsummed.flip(2).cumsum(2).flip(2), rows(dB), rows(dC), dstart


def states_before(added: Tensor, decay: Tensor, start: Tensor) -> Tensor:
    """[b j h p n] the state before each chunk, of what chunks add to it [b j h p n], how much they decay it [b j h 1 1]
    and the first one [b h p n].
    """
    return cast("Tensor", _States.apply(added, decay, start))


class _States(torch.autograd.Function):
    """See states_before."""

    @staticmethod
    def forward(ctx: Any, added: Tensor, decay: Tensor, start: Tensor) -> Tensor:
        before = _before(added, decay, start)
        ctx.save_for_backward(decay, before)
        return before

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        decay, before = ctx.saved_tensors
        dafter, dstart = _after(gradients[0], decay, torch.zeros_like(before[:, 0]))
        return dafter, (dafter * before).sum((-1, -2), keepdim=True), dstart


def _before(added: Tensor, decay: Tensor, start: Tensor) -> Tensor:
    """See states_before."""
    before = torch.empty_like(added)
    before[:, 0] = start
    for chunk in range(added.shape[1] - 1):
        torch.addcmul(added[:, chunk], before[:, chunk], decay[:, chunk], out=before[:, chunk + 1])
    return before


def _after(dbefore: Tensor, decay: Tensor, dlast: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the states after each chunk [b j h p n] and of the first [b h p n], from those of what reads the
    states before the chunks and of the last.
    """
    dafter = torch.empty_like(dbefore)
    dafter[:, -1] = dlast
    for chunk in reversed(range(1, dbefore.shape[1])):
        torch.addcmul(dbefore[:, chunk], dafter[:, chunk], decay[:, chunk], out=dafter[:, chunk - 1])
    return dafter, torch.addcmul(dbefore[:, 0], dafter[:, 0], decay[:, 0])


def sums(x: Tensor, B: Tensor) -> Tensor:
    """[b j h p n] sums over a chunk's tokens of x B^T; x [b j c h p], B [b j c g n]."""
    return (grouped(x, B.shape[3]).transpose(-1, -2) @ rows(B)).view(*x.shape[:2], *x.shape[3:], B.shape[-1])


def reads(states: Tensor, C: Tensor) -> Tensor:
    """[b j c h p] what a chunk's tokens read, undecayed, from a state [b j h p n]; C [b j c g n]."""
    b, j, h, _, n = states.shape
    return ungrouped(rows(C) @ states.view(b, j, C.shape[3], -1, n).transpose(-1, -2), h)


def decay_matrix(summed: Tensor) -> Tensor:
    """[b j c h] sums of log decays -> [b j h c c] exp(a_i - a_j) for i >= j, else 0."""
    rows = summed.transpose(2, 3)
    c = rows.shape[-1]
    future = torch.full((c, c), -torch.inf, dtype=rows.dtype, device=rows.device).triu(1)
    return (rows[..., :, None] - rows[..., None, :]).add_(future).exp_()


def decay_to_end(summed: Tensor) -> Tensor:
    """[b j c h 1] decay from each token to its chunk's end."""
    return (summed[:, :, -1:] - summed).exp()[..., None]


def total_decay(summed: Tensor) -> Tensor:
    """[b j h 1 1] decay over a whole chunk."""
    return summed[:, :, -1].exp()[..., None, None]


def scores(C: Tensor, B: Tensor) -> Tensor:
    """[b j g c c] C_i · B_j."""
    return rows(C) @ rows(B).transpose(-1, -2)


def rows(z: Tensor) -> Tensor:
    """[b j c g n] <-> [b j g c n]."""
    return z.transpose(2, 3)


def per_group(z: Tensor, groups: int) -> Tensor:
    """[b j h c c] -> [b j g h/g c c]."""
    return z.unflatten(2, (groups, -1))


def grouped(z: Tensor, groups: int) -> Tensor:
    """[b j c h p] -> [b j g c h/g·p]: one matrix for all heads that share B and C."""
    return z.flatten(3).unflatten(3, (groups, -1)).transpose(2, 3)


def ungrouped(z: Tensor, heads: int) -> Tensor:
    """[b j g c h/g·p] -> [b j c h p]."""
    return z.transpose(2, 3).flatten(3).unflatten(3, (heads, -1))
