"""Lifetimes: when each key is evicted, for a whole sequence at once, and the blocks of attention over the others.

until [b' s t] is the number of the first chunk whose readers find a token gone (b' and s are 1 where all rows or all
heads agree). It is all that training, FlexAttention and tests need to know of a schedule and its choices.
"""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from l2m_design.architecture.schedules import ChunkSchedule, GlobalBudget, bit_reversal
from l2m_design.model.blockwise import Block, block_attention

QUERIES = 256  # of a block at most: fewer gather more, more read what they hide
QUERIES_OFF_CPU = 1024  # where launching a block's operations takes longer than reading what it hides


@lru_cache(maxsize=64)
def spread_lifetimes(schedule: ChunkSchedule, t: int) -> Tensor:
    """[1 1 t] where ranks are spread evenly in each chunk."""
    chunks = -(-t // schedule.chunk)
    until = torch.from_numpy(schedule.lifetimes(chunks)[:, bit_reversal(schedule.chunk)]).flatten()
    until[: schedule.sinks] = chunks
    return until[None, None, :t]


def ranked_lifetimes(schedule: ChunkSchedule, score: Tensor) -> Tensor:
    """[b s t] where a chunk's tokens are ranked by score [b s t], the greatest first, when the chunk is whole."""
    t, c = score.shape[-1], schedule.chunk
    whole, chunks = t // c, -(-t // c)
    until = torch.full(score.shape, chunks, device=score.device)
    if whole:
        order = score[..., : whole * c].unflatten(-1, (whole, c)).argsort(dim=-1, descending=True, stable=True)
        table = torch.from_numpy(schedule.lifetimes(chunks)[:whole]).to(score.device).expand_as(order)
        until[..., : whole * c] = torch.empty_like(order).scatter_(-1, order, table).flatten(-2)
    return until


def best_lifetimes(budget: GlobalBudget, score: Tensor) -> Tensor:
    """[b s t] where only the best scores [b s t] stay, tokens joining as their chunk leaves the local two."""
    t, c = score.shape[-1], budget.chunk
    chunks = -(-t // c)
    until = torch.full(score.shape, chunks, device=score.device)
    held = torch.empty(*score.shape[:2], 0, dtype=torch.int64, device=score.device)
    new = torch.arange(c, device=score.device).expand(*score.shape[:2], c)
    for current in range(2, chunks):
        held = torch.cat([held, new + (current - 2) * c], dim=-1)
        held, gone = best(held, score, budget.budget(current))
        until.scatter_(-1, gone, current)
    return until


def best(held: Tensor, score: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` tokens of `held` [b s n] with the greatest scores, and the others; the earlier of equals stays."""
    order = score.gather(-1, held).argsort(dim=-1, descending=True, stable=True)
    ordered = held.gather(-1, order)
    return ordered[..., :count], ordered[..., count:]


def held_attention(query: Tensor, key: Tensor, value: Tensor, until: Tensor, chunk: int) -> Tensor:
    """[b h t v] of a fresh sequence's query [b h t k] over key [b g t k], value [b g t v]: own and previous chunk, and
    older tokens until they are evicted. s of `until` is 1 or g.
    """
    return block_attention(query, key, value, list(held_blocks(until, chunk)))


def still_held(until: Tensor, chunk: int) -> Tensor:
    """[b' s slots] positions held after the last token of until [b' s t], in the order of time."""
    current = (until.shape[-1] - 1) // chunk
    return positions(until > current)


def positions(held: Tensor) -> Tensor:
    """[b' s n] where held [b' s t] is True, as often in every row."""
    return held.nonzero()[:, -1].view(*held.shape[:2], -1)


def held_blocks(until: Tensor, chunk: int, queries: int | None = None) -> Iterator[Block]:
    """Blocks of neighbouring chunks that read their local chunks and what is held of older ones.

    queries: tokens of a block; by default, on a CPU, as many as are read from far and a chunk, at most QUERIES, so
    that less than twice of what is needed is read. Asks a device for numbers once.
    """
    t = until.shape[-1]
    if queries is None and until.device.type != "cpu":
        queries = QUERIES_OFF_CPU
    most = max(1, (queries or QUERIES) // chunk)
    read = _read_from_far(until, chunk)
    far = torch.empty(*until.shape[:2], 0, dtype=torch.int64, device=until.device)
    seen = 0
    first = 0
    while first * chunk < t:
        local = max(0, first - 1) * chunk
        aged = torch.arange(seen, local, device=until.device).expand(*until.shape[:2], -1)
        far = torch.cat([far, aged], dim=-1)
        far = _chosen(far, until.gather(-1, far) > first, read[first])
        seen = local
        size = most if queries else min(most, 1 + far.shape[-1] // chunk)
        rows = slice(first * chunk, min(t, (first + size) * chunk))
        columns = slice(local, rows.stop)
        yield Block(rows, far if far.shape[-1] else None, columns, _Hidden(until, far, rows, columns, chunk))
        first += size


def _read_from_far(until: Tensor, chunk: int) -> list[int]:
    """By number of a chunk, how many older tokens than its local ones it reads, the same in every row."""
    t = until.shape[-1]
    chunks = torch.arange(-(-t // chunk), device=until.device)
    gone = torch.maximum(until[0, 0], torch.arange(t, device=until.device) // chunk + 2).sort().values
    aged = (chunks - 1).clamp(min=0) * chunk
    found: list[int] = (aged - torch.searchsorted(gone, chunks, right=True)).tolist()
    return found


def _chosen(z: Tensor, where: Tensor, count: int) -> Tensor:
    """[b' s count] of z [b' s n] where `where` is True, `count` times in every row; no wait for the device."""
    found = where.nonzero_static(size=where.shape[0] * where.shape[1] * count)[:, -1]
    return z.gather(-1, found.view(*where.shape[:2], count))


class _Hidden:
    """What queries do not read: the future, and what was evicted before their chunk began."""

    def __init__(self, until: Tensor, far: Tensor, rows: slice, columns: slice, chunk: int) -> None:
        self.until, self.far, self.rows, self.columns, self.chunk = until, far, rows, columns, chunk

    def __call__(self) -> Tensor:
        """[b' s rows far+columns]."""
        row = torch.arange(self.rows.start, self.rows.stop, device=self.until.device)[:, None]
        column = torch.arange(self.columns.start, self.columns.stop, device=self.until.device)
        until = torch.cat([self.until.gather(-1, self.far), self.until[..., self.columns]], dim=-1)
        gone = until[:, :, None] <= row // self.chunk
        gone[..., self.far.shape[-1] :] |= column > row
        return gone
