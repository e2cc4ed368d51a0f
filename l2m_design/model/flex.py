"""torch's FlexAttention, compiled, with block masks of what our layers read: a band, or what lifetimes leave."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.model.lifetimes import held_blocks

BLOCK = 128  # of queries and keys
EVEN = 8  # channels: rows that begin at multiples of 16 bytes are read in wide loads; those of `learned` have one more


def flex_window() -> Callable[..., Any]:
    """torch's FlexAttention, compiled, with a block mask of the band and its sinks."""
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    compiled = torch.compile(flex_attention)

    @lru_cache(maxsize=32)
    def mask(t: int, window: int, sinks: int, device: torch.device) -> BlockMask:
        def read(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (k <= q) & ((k > q - window) | (k < sinks))

        with torch.inference_mode(False):  # kept for calls that need gradients
            blocks = read_blocks(t, window, sinks).to(device)
            counts = blocks.sum(-1, dtype=torch.int32)
            order = blocks.int().argsort(dim=-1, descending=True, stable=True).int()
            made: Any = BlockMask.from_kv_blocks(
                counts[None, None], order[None, None], BLOCK_SIZE=BLOCK, mask_mod=read, seq_lengths=(t, t)
            )
        return made

    def window_attention(query: Tensor, key: Tensor, value: Tensor, window: int, sinks: int) -> Tensor:
        block_mask = mask(query.shape[2], window, sinks, query.device)
        grouped = query.shape[1] != key.shape[1]
        query, key = query.to(value.dtype), key.to(value.dtype)
        y: Tensor = compiled(query, key, value, block_mask=block_mask, enable_gqa=grouped)
        return y

    return window_attention


def read_blocks(t: int, window: int, sinks: int) -> Tensor:
    """[query blocks, key blocks] True where a block of BLOCK queries reads any key of a block of BLOCK keys."""
    first = torch.arange(0, t, BLOCK)
    query, key = first[:, None], first[None, :]
    near = key + BLOCK > query - window + 1
    return (key <= query) & (near | (key < sinks))


def flex_held() -> Callable[..., Any]:
    """The keys that each block of queries reads stand beside each other, so that a block mask leaves out all others.

    These copies are memory: for every BLOCK of queries what it reads, L^(1 + exponent) / BLOCK keys and values.
    """
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    compiled = torch.compile(flex_attention)

    def held_attention(query: Tensor, key: Tensor, value: Tensor, until: Tensor, chunk: int) -> Tensor:
        b, g, t, _ = key.shape
        share = query.shape[1] // g
        index, reader = columns(until, chunk)
        index = index.expand(b, g, -1)
        life = until.expand(b, g, -1).gather(-1, index.clamp(min=0)).masked_fill(index < 0, -1)
        queries = max(BLOCK, chunk)

        def read(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            held = (index[b, h // share, k] <= q) & (life[b, h // share, k] > q // chunk)
            return held & (reader[k] == q // queries)

        counts, order = _blocks_read(reader, t, queries)
        made: Any = BlockMask.from_kv_blocks(
            counts[None, None], order[None, None], BLOCK_SIZE=BLOCK, mask_mod=read, seq_lengths=(t, len(reader))
        )
        there, size = index.clamp(min=0)[..., None], value.shape[-1]
        query, key = query.to(value.dtype), key.to(value.dtype)
        if size % EVEN:
            query, key, value = (F.pad(z, (0, -size % EVEN)) for z in (query, key, value))
        keys, values = (z.gather(2, there.expand(-1, -1, -1, z.shape[-1])) for z in (key, value))
        y: Tensor = compiled(query, keys, values, block_mask=made, enable_gqa=share > 1, scale=size**-0.5)
        return y[..., :size]

    return held_attention


def columns(until: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """What blocks of max(BLOCK, chunk) queries read, one after the other, each filled up to whole BLOCKs.

    Positions [b' s n], -1 where filled up; the number of the reading block [n].
    """
    segments, readers = [], []
    for number, block in enumerate(held_blocks(until, chunk, queries=max(BLOCK, chunk))):
        near = torch.arange(block.columns.start, block.columns.stop, device=until.device)
        near = near.expand(*until.shape[:2], -1)
        segment = near if block.far is None else torch.cat([block.far, near], dim=-1)
        segments.append(F.pad(segment, (0, -segment.shape[-1] % BLOCK), value=-1))
        readers += [number] * segments[-1].shape[-1]
    return torch.cat(segments, dim=-1), torch.tensor(readers, device=until.device)


def _blocks_read(reader: Tensor, t: int, queries: int) -> tuple[Tensor, Tensor]:
    """For each BLOCK of the t queries how many BLOCKs of columns it reads [q], and which first [q all]."""
    of_columns = reader[::BLOCK]
    of_queries = torch.arange(0, t, BLOCK, device=reader.device) // queries
    reads = of_queries[:, None] == of_columns
    order = reads.int().argsort(dim=-1, descending=True, stable=True)
    return reads.sum(-1, dtype=torch.int32), order.int().contiguous()
