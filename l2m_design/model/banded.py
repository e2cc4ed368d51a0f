"""Causal softmax attention over a band of keys, in blocks of queries: cost grows as length · band, no square is kept.

Each block is three matrix products; the gradient computes a block's weights again from the saved logarithm of
their sum (as in FlashAttention, arXiv 2205.14135), so memory is that of queries, keys and values.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_BLOCK, MOST_BLOCK = 32, 128


@torch.compiler.disable  # its loop would be unrolled
def banded_attention(query: Tensor, key: Tensor, value: Tensor, window: int, sinks: int = 0) -> Tensor:
    """[b h t v]: each query reads the last `window` keys up to its own, and the first `sinks` ones before those.

    query [b h t k], key [b g s k], value [b g s v], h a multiple of g, s >= t; the last query stands at the last
    key. Products are taken in the values' dtype, the softmax in float32 at least.
    """
    query, key = query.to(value.dtype), key.to(value.dtype)
    with torch.autocast(query.device.type, enabled=False):
        return cast("Tensor", _Banded.apply(query, key, value, Band(min(window, key.shape[2]), sinks)))


class Band(NamedTuple):
    """The last `window` keys and the first `sinks`."""

    window: int
    sinks: int


class _Block(NamedTuple):
    """Queries [rows] over the keys [:sinks] and [columns]; hidden: [rows sinks+columns] True where not read."""

    rows: slice
    sinks: int
    columns: slice
    hidden: Tensor

    def take(self, z: Tensor) -> Tensor:
        """[b g s .] -> [b g sinks+columns .]."""
        here = z[:, :, self.columns]
        return torch.cat([z[:, :, : self.sinks], here], dim=2) if self.sinks else here

    def give(self, total: Tensor, part: Tensor) -> None:
        """Add a gradient of what `take` took to that of the whole."""
        total[:, :, self.columns] += part[:, :, self.sinks :]
        if self.sinks:
            total[:, :, : self.sinks] += part[:, :, : self.sinks]


def _blocks(t: int, s: int, band: Band, device: torch.device) -> Iterator[_Block]:
    window = band.window
    size = min(t, MOST_BLOCK, max(LEAST_BLOCK, window // 4))
    row = torch.arange(size, device=device)[:, None]
    column = torch.arange(size + window - 1, device=device)
    for first in range(0, t, size):
        last = min(t, first + size)
        begin = first + s - t - window + 1
        columns = slice(max(0, begin), last + s - t)
        part = slice(columns.start - begin, columns.stop - begin)
        rows, there = row[: last - first], column[part]
        hidden = (there >= rows + window) | ((there < rows) & (there + begin >= band.sinks))
        apart = min(band.sinks, columns.start)
        yield _Block(slice(first, last), apart, columns, F.pad(hidden, (apart, 0)))


class _Banded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, band: Band) -> Tensor:
        b, h, t, _ = query.shape
        g = key.shape[1]
        q = query.unflatten(1, (g, h // g))
        y = query.new_empty(b, g, h // g, t, value.shape[-1])
        log_sum = query.new_empty(b, g, h // g, t, dtype=torch.promote_types(query.dtype, torch.float32))
        for block in _blocks(t, key.shape[2], band, query.device):
            rows = block.rows
            scores = _scores(q[..., rows, :], block.take(key), block.hidden)
            log_sum[..., rows] = scores.logsumexp(-1)
            weights = scores.sub_(log_sum[..., rows, None]).exp_().to(value.dtype)
            y[..., rows, :] = _over_keys(weights, block.take(value))
        ctx.save_for_backward(query, key, value, y, log_sum)
        ctx.band = band
        return y.flatten(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, y, log_sum = ctx.saved_tensors
        g = key.shape[1]
        share = query.shape[1] // g
        q, dy = (z.unflatten(1, (g, share)) for z in (query, gradients[0]))
        dquery, dkey, dvalue = torch.empty_like(q), torch.zeros_like(key), torch.zeros_like(value)
        along = (dy * y).sum(-1, dtype=log_sum.dtype)
        scale = 1 / math.sqrt(query.shape[-1])
        for block in _blocks(query.shape[2], key.shape[2], ctx.band, query.device):
            rows, keys = block.rows, block.take(key)
            here, dhere = q[..., rows, :], dy[..., rows, :]
            weights = _scores(here, keys, block.hidden).sub_(log_sum[..., rows, None]).exp_()
            block.give(dvalue, _over_rows(weights.to(value.dtype), dhere))
            dscores = _over_keys(dhere, block.take(value).transpose(-1, -2)).to(weights.dtype)
            dscores = dscores.sub_(along[..., rows, None]).mul_(weights).mul_(scale).to(query.dtype)
            dquery[..., rows, :] = _over_keys(dscores, keys)
            block.give(dkey, _over_rows(dscores, here))
        return dquery.flatten(1, 2), dkey, dvalue, None


def _scores(query: Tensor, key: Tensor, hidden: Tensor) -> Tensor:
    """[b g share rows columns] scaled products, -inf out of the band."""
    scores = _over_keys(query / math.sqrt(query.shape[-1]), key.transpose(-1, -2))
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).masked_fill_(hidden, -torch.inf)


def _over_keys(z: Tensor, matrix: Tensor) -> Tensor:
    """[b g share rows x] @ [b g x y]: the queries of a group of heads are one matrix."""
    return (z.flatten(2, 3) @ matrix).unflatten(2, z.shape[2:4])


def _over_rows(weights: Tensor, z: Tensor) -> Tensor:
    """[b g share rows columns]^T @ [b g share rows y], summed over a group's heads: [b g columns y]."""
    return weights.flatten(2, 3).transpose(-1, -2) @ z.flatten(2, 3)
