"""Causal softmax attention over a band of keys and the first ones: cost grows as length · band.

On a CPU block by block (see blockwise), which keeps each block in its caches; elsewhere all blocks of a sequence are
the batch of one call of torch's attention, since a GPU would wait for the launches of many small ones.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.model.blockwise import Block, block_attention

LEAST_BLOCK, MOST_BLOCK = 32, 128
LEAST_STACKED = 64  # queries of a block on a GPU, where half a window is less


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of query [b h t k] over keys, values [b g s k], h a multiple of g.

    mask: boolean, True where attended, broadcast to [b 1 t s]. The heads of a group are rows of one matrix, so
    keys are never repeated.
    """
    share = query.shape[1] // keys.shape[1]
    rows = query.unflatten(1, (-1, share)).flatten(2, 3)
    mask = mask if mask is None or share == 1 else mask.repeat(*[1] * (mask.ndim - 2), share, 1)
    y = F.scaled_dot_product_attention(rows, keys, values, attn_mask=mask)
    return y.unflatten(2, (share, -1)).flatten(1, 2)


def banded_attention(query: Tensor, key: Tensor, value: Tensor, window: int, sinks: int = 0) -> Tensor:
    """[b h t v]: each query reads the last `window` keys up to its own, and the first `sinks` ones before those.

    query [b h t k], key [b g s k], value [b g s v], h a multiple of g, s >= t; the last query stands at the last
    key.
    """
    t, s = query.shape[2], key.shape[2]
    if query.device.type != "cpu" and t == s > window + sinks:
        return stacked_attention(query, key, value, window, sinks)
    return block_attention(query, key, value, list(_blocks(t, s, min(window, s), sinks, query.device)))


def stacked_attention(query: Tensor, key: Tensor, value: Tensor, window: int, sinks: int = 0) -> Tensor:
    """The same of a fresh sequence, s = t. The queries before `first` read each other and are one call; behind them all
    blocks read alike, a run of keys and the sinks, and are the batch of another.
    """
    query, key = query.to(value.dtype), key.to(value.dtype)
    t, size = query.shape[2], max(LEAST_STACKED, window // 2)
    first = -(-(window + sinks) // size) * size
    at = torch.arange(min(first, t), device=query.device)
    row, column = at[:, None], at
    mask = (column <= row) & ((column > row - window) | (column < sinks))
    y = attend(query[:, :, :first], key[:, :, :first], value[:, :, :first], mask)
    if t <= first:
        return y
    end = -(t - first) % size
    rows = F.pad(query[:, :, first:], (0, 0, 0, end)).unflatten(2, (-1, size)).transpose(1, 2)
    row, column = torch.arange(size, device=query.device)[:, None], torch.arange(window + size, device=query.device)
    mask = F.pad((column > row) & (column <= row + window), (sinks, 0), value=True)
    keys, values = (_runs(z, first - window, window + size, size, end, sinks) for z in (key, value))
    behind = attend(rows.flatten(0, 1), keys, values, mask).unflatten(0, rows.shape[:2])
    return torch.cat([y, behind.transpose(1, 2).flatten(2, 3)[:, :, : t - first]], dim=2)


def _runs(z: Tensor, first: int, length: int, size: int, end: int, sinks: int) -> Tensor:
    """[b·n g sinks+length k] of z [b g t k] from `first` on and `end` zeros: runs that begin every `size` tokens."""
    b, g, _, k = z.shape
    runs = F.pad(z[:, :, first:], (0, 0, 0, end)).unfold(2, length, size).permute(0, 2, 1, 4, 3)
    start = z[:, None, :, :sinks].expand(b, runs.shape[1], g, -1, k)
    return (torch.cat([start, runs], dim=3) if sinks else runs).flatten(0, 1)


def _blocks(t: int, s: int, window: int, sinks: int, device: torch.device) -> Iterator[Block]:
    size = min(t, MOST_BLOCK, max(LEAST_BLOCK, window // 4))
    row = torch.arange(size, device=device)[:, None]
    column = torch.arange(size + window - 1, device=device)
    for first in range(0, t, size):
        last = min(t, first + size)
        begin = first + s - t - window + 1
        columns = slice(max(0, begin), last + s - t)
        part = slice(columns.start - begin, columns.stop - begin)
        apart = min(sinks, columns.start)
        far = torch.arange(apart, device=device)[None, None] if apart else None
        yield Block(
            slice(first, last), far, columns, _hidden(row[: last - first], column[part], window, sinks - begin, apart)
        )


def _hidden(row: Tensor, column: Tensor, window: int, sinks: int, apart: int) -> Callable[[], Tensor]:
    """A key is hidden before the row's window unless it is a sink, and behind the row."""
    return lambda: F.pad((column >= row + window) | ((column < row) & (column >= sinks)), (apart, 0))
