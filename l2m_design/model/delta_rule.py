"""The gated delta rule (arXiv 2412.06464) by its chunked WY form, in torch.

    S_t = exp(a_t) S_(t-1) (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,    y_t = S_t q_t

Inside a chunk all writes are found at once by the inverse of one triangular matrix; between chunks a recurrence,
whose gradient is written out.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture.mixers.base import CHUNK
from l2m_design.model.precision import wide

UNIT_EPS = 1e-6  # under the root of a query's or key's length, as in Qwen3-Next


def unit(z: Tensor) -> Tensor:
    """Vectors [.. k] of length 1, those of nearly no length shorter."""
    return z * torch.rsqrt(z.square().sum(-1, keepdim=True) + UNIT_EPS)


@torch.compiler.disable  # its loop over chunks would be unrolled
def delta_scan(
    query: Tensor, key: Tensor, value: Tensor, write: Tensor, log_decay: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """y [b t h v] and the last memory [b h v k].

    query, key [b t h k], value [b t h v], write (beta) and log_decay [b t h], start [b h v k]. Computed in float32 at
    least, whatever the inputs are.
    """
    query, key, value = (wide(z) for z in (query, key, value))
    t = query.shape[1]
    size = min(CHUNK, t)
    parts = [query, key, value, write[..., None], log_decay[..., None]]
    if padding := -t % size:
        parts = [F.pad(z, (0, 0, 0, 0, 0, padding)) for z in parts]
    query, key, value, write, log_decay = (_chunks_first(z, size) for z in parts)
    summed = log_decay[..., 0].cumsum(-1)
    future = torch.full((size, size), -torch.inf, dtype=summed.dtype, device=summed.device).triu(1)
    decays = (summed[..., :, None] - summed[..., None, :] + future).exp()
    written, grown = key * write, summed.exp()[..., None]
    solved = cast("Tensor", _Inverse.apply((written @ key.transpose(-1, -2) * decays).tril(-1)))
    kept = key * (summed[..., -1:] - summed).exp()[..., None]
    added, before, last = cast(
        "tuple[Tensor, Tensor, Tensor]",
        _Memory.apply(
            solved @ (value * write), solved @ (written * grown), kept, grown[..., -1:, :], start.transpose(-1, -2)
        ),
    )
    y = (query @ key.transpose(-1, -2) * decays) @ added + (query * grown) @ before
    return y.permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :t], last.transpose(-1, -2)


def _chunks_first(z: Tensor, size: int) -> Tensor:
    """[b t h .] -> [j b h c .] in memory of its own: j chunks of c tokens."""
    return z.unflatten(1, (-1, size)).permute(1, 0, 3, 2, 4).contiguous()


class _Inverse(torch.autograd.Function):
    """(1 + M)^-1 of strictly lower triangular matrices M [.. c c]."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        unit = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
        inverse = torch.linalg.solve_triangular(matrix, unit, upper=False, unitriangular=True)
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        turned = ctx.saved_tensors[0].transpose(-1, -2)
        return -(turned @ gradients[0] @ turned).tril_(-1)


class _Memory(torch.autograd.Function):
    """The recurrence over chunks: added = values - erase S, then S <- decay S + keys^T added.

    values [j b h c v], erase and keys [j b h c k], decay [j b h 1 1], start [b h k v] -> added [j b h c v], S before
    each chunk [j b h k v], the last S.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, erase: Tensor, keys: Tensor, decay: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        added, before = torch.empty_like(values), start.new_empty(len(values), *start.shape)
        memory = start
        for chunk in range(len(values)):
            before[chunk] = memory
            torch.sub(values[chunk], erase[chunk] @ memory, out=added[chunk])
            memory = torch.addcmul(keys[chunk].transpose(-1, -2) @ added[chunk], memory, decay[chunk])
        ctx.save_for_backward(erase, keys, decay, before, added)
        return added, before, memory

    @staticmethod
    def backward(ctx: Any, dadded: Tensor, dbefore: Tensor, dmemory: Tensor) -> tuple[Tensor, ...]:
        erase, keys, decay, before, added = ctx.saved_tensors
        dvalues, dafter = torch.empty_like(added), torch.empty_like(before)
        for chunk in reversed(range(len(erase))):
            dafter[chunk] = dmemory
            torch.add(dadded[chunk], keys[chunk] @ dmemory, out=dvalues[chunk])
            dmemory = torch.addcmul(dbefore[chunk], dmemory, decay[chunk])
            dmemory = dmemory - erase[chunk].transpose(-1, -2) @ dvalues[chunk]
        derase = -(dvalues @ before.transpose(-1, -2))
        dkeys = added @ dafter.transpose(-1, -2)
        return dvalues, derase, dkeys, (dafter * before).sum((-1, -2), keepdim=True), dmemory
