"""Causal softmax attention over a band of keys and the first ones: cost grows as length · band (see blockwise)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.model.blockwise import Block, block_attention

LEAST_BLOCK, MOST_BLOCK = 32, 128


def banded_attention(query: Tensor, key: Tensor, value: Tensor, window: int, sinks: int = 0) -> Tensor:
    """[b h t v]: each query reads the last `window` keys up to its own, and the first `sinks` ones before those.

    query [b h t k], key [b g s k], value [b g s v], h a multiple of g, s >= t; the last query stands at the last
    key.
    """
    t, s = query.shape[2], key.shape[2]
    return block_attention(query, key, value, list(_blocks(t, s, min(window, s), sinks, query.device)))


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
