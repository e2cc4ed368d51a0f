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
        b, j, _, h, p = x.shape
        g, n = B.shape[-2:]
        summed = log_decay.cumsum(2)
        x_head = x.transpose(2, 3).contiguous()
        weights = _per_group(_decays(summed), g).mul_(_scores(C, B)[:, :, :, None]).flatten(2, 3)
        inside = weights @ x_head
        added = (_grouped(x * _to_end(summed), g).transpose(-1, -2) @ _rows(B)).view(b, j, h, p, n)
        decay = _total_decay(summed)
        before = torch.empty_like(added)  # the state before each chunk
        before[:, 0] = start
        for chunk in range(j - 1):
            torch.addcmul(added[:, chunk], before[:, chunk], decay[:, chunk], out=before[:, chunk + 1])
        last = torch.addcmul(added[:, -1], before[:, -1], decay[:, -1])
        y = _ungrouped(_rows(C) @ before.view(b, j, g, -1, n).transpose(-1, -2), h)
        y = torch.addcmul(inside.transpose(2, 3), y, summed.exp()[..., None])
        ctx.save_for_backward(x_head, summed, B, C, before, y, last)
        return y, last

    @staticmethod
    def backward(ctx: Any, dy: Tensor, dlast: Tensor) -> tuple[Tensor, ...]:
        x_head, summed, B, C, before, y, last = ctx.saved_tensors
        b, j, h, _, p = x_head.shape
        g, n = B.shape[-2:]
        x, to_end = x_head.transpose(2, 3), _to_end(summed)
        decay = _total_decay(summed)
        dy_head = dy.transpose(2, 3).contiguous()
        decays = _per_group(_decays(summed), g)
        dscores = _per_group(dy_head @ x_head.transpose(-1, -2), g).mul_(decays).sum(3)
        weights = decays.mul_(_scores(C, B)[:, :, :, None]).flatten(2, 3)
        dx_inside = weights.transpose(-1, -2) @ dy_head
        dy_grown = _grouped(dy * summed.exp()[..., None], g)
        from_reads = (dy_grown.transpose(-1, -2) @ _rows(C)).view(b, j, h, p, n)
        dafter = torch.empty_like(before)  # the gradient of the state after each chunk
        dafter[:, -1] = dlast
        for chunk in reversed(range(1, j)):
            torch.addcmul(from_reads[:, chunk], dafter[:, chunk], decay[:, chunk], out=dafter[:, chunk - 1])
        dstart = torch.addcmul(from_reads[:, 0], dafter[:, 0], decay[:, 0])
        before_flat, dafter_flat = (z.view(b, j, g, -1, n) for z in (before, dafter))
        dC = dscores @ _rows(B) + dy_grown @ before_flat
        dB = dscores.transpose(-1, -2) @ _rows(C) + _grouped(x * to_end, g) @ dafter_flat
        dx = _ungrouped(_rows(B) @ dafter_flat.transpose(-1, -2), h)
        dx = torch.addcmul(dx_inside.transpose(2, 3), dx, to_end)
        dsummed = (dy * y).sum(-1) - (x * dx).sum(-1)
        dsummed[:, :-1, -1] += (dafter[:, :-1] * before[:, 1:]).sum((-1, -2))
        dsummed[:, -1, -1] += (dlast * last).sum((-1, -2))
        return dx, dsummed.flip(2).cumsum(2).flip(2), _rows(dB), _rows(dC), dstart


def _decays(summed: Tensor) -> Tensor:
    """[b j c h] sums of log decays -> [b j h c c] exp(a_i - a_j) for i >= j, else 0."""
    rows = summed.transpose(2, 3)
    c = rows.shape[-1]
    future = torch.full((c, c), -torch.inf, dtype=rows.dtype, device=rows.device).triu(1)
    return (rows[..., :, None] - rows[..., None, :]).add_(future).exp_()


def _to_end(summed: Tensor) -> Tensor:
    """[b j c h 1] decay from each token to its chunk's end."""
    return (summed[:, :, -1:] - summed).exp()[..., None]


def _total_decay(summed: Tensor) -> Tensor:
    """[b j h 1 1] decay over a whole chunk."""
    return summed[:, :, -1].exp()[..., None, None]


def _scores(C: Tensor, B: Tensor) -> Tensor:
    """[b j g c c] C_i · B_j."""
    return _rows(C) @ _rows(B).transpose(-1, -2)


def _rows(z: Tensor) -> Tensor:
    """[b j c g n] <-> [b j g c n]."""
    return z.transpose(2, 3)


def _per_group(z: Tensor, groups: int) -> Tensor:
    """[b j h c c] -> [b j g h/g c c]."""
    return z.unflatten(2, (groups, -1))


def _grouped(z: Tensor, groups: int) -> Tensor:
    """[b j c h p] -> [b j g c h/g·p]: one matrix for all heads that share B and C."""
    return z.flatten(3).unflatten(3, (groups, -1)).transpose(2, 3)


def _ungrouped(z: Tensor, heads: int) -> Tensor:
    """[b j g c h/g·p] -> [b j c h p]."""
    return z.transpose(2, 3).flatten(3).unflatten(3, (heads, -1))
