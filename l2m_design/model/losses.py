"""Losses of tokens under an output table, a chunk of tokens at a time where all logits at once would be too large."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.model.precision import as_projected, wide

MOST_LOGITS = 2**26  # at once: 256 MiB in float32


def mean_nats(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Mean nats of targets [b t] whose logits are hidden [b t d] times table [v_ d]; differentiable once."""
    if targets.numel() * len(table) <= MOST_LOGITS:
        logits = F.linear(hidden, table)
        return F.cross_entropy(wide(logits).flatten(0, 1), targets.flatten())
    return cast("Tensor", _MeanNats.apply(as_projected(hidden).flatten(0, 1), table, targets.flatten()))


@torch.no_grad()
def token_nats(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """[b t] nats of targets [b t], as `mean_nats` has them, without gradient."""
    found = [
        F.cross_entropy(wide(F.linear(z, table)).flatten(0, -2), wanted.flatten(), reduction="none")
        for z, wanted in _chunks(hidden, table, targets)
    ]
    return torch.cat(found).view(targets.shape)


def _chunks(hidden: Tensor, table: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """All at once where that is small enough, else [n d] and [n] of so many tokens that it is."""
    if targets.numel() * len(table) <= MOST_LOGITS:
        yield hidden, targets
        return
    size = max(1, MOST_LOGITS // len(table))
    yield from zip(hidden.flatten(0, -2).split(size), targets.flatten().split(size), strict=True)


class _MeanNats(torch.autograd.Function):
    """Gradients are made with the loss, so that no logits are kept or computed twice (as in arXiv 2410.10989)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        """Loss of hidden [n d], table [v_ d], targets [n]; products in the dtype of `hidden`."""
        total = hidden.new_zeros((), dtype=wide(hidden[:0]).dtype)
        d_hidden, d_table = torch.empty_like(hidden), torch.zeros_like(table, dtype=total.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            rows = table.to(hidden.dtype)
            done = 0
            for z, wanted in _chunks(hidden, table, targets):
                nats = F.log_softmax(F.linear(z, rows), -1, dtype=total.dtype)
                total -= nats.gather(1, wanted[:, None]).sum()
                d_logits = nats.exp_().scatter_(1, wanted[:, None], -1.0, reduce="add").to(hidden.dtype)
                torch.mm(d_logits, rows, out=d_hidden[done : done + len(z)])
                d_table += d_logits.T @ z
                done += len(z)
        ctx.save_for_backward(d_hidden, d_table)
        ctx.count = len(targets)
        return total / len(targets)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Of `forward`."""
        scale = gradients[0] / ctx.count
        d_hidden, d_table = ctx.saved_tensors
        return d_hidden * scale, d_table * scale, None
