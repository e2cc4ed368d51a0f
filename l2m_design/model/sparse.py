"""Sparse attention: every chunk reads itself, the previous chunk, and the kept slots of a power-law schedule.

The kept slots do not depend on the data (architecture.schedules), so a whole sequence gathers them with
static indices: time and memory grow as L^(1 + exponent), never an L x L mask. Decoding evicts at chunk
borders and holds exactly kept(t) keys.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture.mixers import SparseAttention
from l2m_design.architecture.schedules import PowerSchedule
from l2m_design.model.attention import HeadAttention, KeyValues, attend, joined, lower_right_mask
from l2m_design.model.kernels import TORCH, Kernels

SLACK = 1.25


class Group(NamedTuple):
    """Chunks [first, last) that gather together. slots: [chunks, most] positions, filled: which are real."""

    first: int
    last: int
    slots: Tensor
    filled: Tensor


@lru_cache(maxsize=64)
def groups(schedule: PowerSchedule, chunks: int) -> list[Group]:
    """Neighbouring chunks whose key counts differ by at most SLACK, so that little is padded."""
    local = 2 * schedule.chunk
    slots = [schedule.old_positions(chunk) for chunk in range(chunks)]
    result: list[Group] = []
    first = 0
    for chunk in range(1, chunks + 1):
        if chunk == chunks or local + len(slots[chunk]) > SLACK * (local + len(slots[first])):
            most = max(len(slots[c]) for c in range(first, chunk))
            padded = np.zeros((chunk - first, most), dtype=np.int64)
            filled = np.zeros((chunk - first, most), dtype=bool)
            for row, held in enumerate(slots[first:chunk]):
                padded[row, : len(held)] = held
                filled[row, : len(held)] = True
            result.append(Group(first, chunk, torch.from_numpy(padded), torch.from_numpy(filled)))
            first = chunk
    return result


class PowerSparseAttention(HeadAttention):
    """Sparse attention with a static power-law schedule."""

    def __init__(self, spec: SparseAttention, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__(spec, width, out_scale, kernels)
        self.schedule = spec.growth

    @torch.compiler.disable  # its loop over chunks would be unrolled
    def read(self, query: Tensor, key: Tensor, value: Tensor, before: KeyValues) -> tuple[Tensor, Tensor, Tensor]:
        """See CacheMixer. A fresh sequence is gathered in whole; a continued one goes chunk by chunk."""
        if not before.seen:
            return self._fresh(query, key, value)
        c, pieces, done = self.schedule.chunk, [], 0
        while done < query.shape[2]:
            piece = slice(done, done + c - before.seen % c)
            y, before = self._continued(query[:, :, piece], key[:, :, piece], value[:, :, piece], before)
            pieces.append(y)
            done += y.shape[2]
        return torch.cat(pieces, dim=2), before.keys, before.values

    def _continued(self, query: Tensor, key: Tensor, value: Tensor, before: KeyValues) -> tuple[Tensor, KeyValues]:
        """Tokens that stay inside one chunk."""
        before = self._evict(before)
        keys, values = joined(key, value, before)
        t = query.shape[2]
        y = attend(query, keys, values, mask=lower_right_mask(t, keys.shape[2], query.device))
        return y, before._replace(keys=keys, values=values, seen=before.seen + t)

    def _evict(self, state: KeyValues) -> KeyValues:
        """Let go of what the chunk that begins at state.seen no longer keeps."""
        current, inside = divmod(state.seen, self.schedule.chunk)
        if inside or current < 2:
            return state
        held = self.schedule.positions(state.seen)
        border = (current - 1) * self.schedule.chunk
        stays = np.isin(held, self.schedule.old_positions(current)) | (held >= border)
        index = torch.from_numpy(np.nonzero(stays)[0]).to(state.keys.device)
        keys, values = (z.index_select(2, index) for z in (state.keys, state.values))
        return state._replace(keys=keys, values=values)

    def _fresh(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        t, c = query.shape[2], self.schedule.chunk
        if t <= 2 * c:  # nothing is old yet
            return self.kernels.causal(query, key, value), key, value
        chunks = -(-t // c)
        wide_query, wide_key, wide_value = (F.pad(z, (0, 0, 0, chunks * c - t)) for z in (query, key, value))
        parts = [self._gathered(wide_query, wide_key, wide_value, group) for group in groups(self.schedule, chunks)]
        y = torch.cat(parts, dim=2)
        kept = torch.from_numpy(self.schedule.positions(t)).to(query.device)
        return y[:, :, :t], key.index_select(2, kept), value.index_select(2, kept)

    def _gathered(self, query: Tensor, key: Tensor, value: Tensor, group: Group) -> Tensor:
        """[b h chunks·c k] attention of the group's chunks over kept slots, previous and own chunk."""
        c, count = self.schedule.chunk, group.last - group.first
        b = query.shape[0]
        span = slice(group.first * c, group.last * c)
        index = self._key_index(group).to(key.device)
        most = group.slots.shape[1]
        mask = torch.ones(count, c, most + 2 * c, dtype=torch.bool)
        mask[:, :, :most] = group.filled[:, None]
        mask[:, :, most + c :] = lower_right_mask(c, c, mask.device)
        if group.first == 0:
            mask[0, :, most : most + c] = False
        query = query[:, :, span].unflatten(2, (count, c)).transpose(1, 2).flatten(0, 1)
        key, value = (z[:, :, index].transpose(1, 2).flatten(0, 1) for z in (key, value))
        y = attend(query, key, value, mask=mask.to(query.device).repeat(b, 1, 1)[:, None])
        return y.unflatten(0, (b, count)).transpose(1, 2).flatten(2, 3)

    def _key_index(self, group: Group) -> Tensor:
        """[chunks, most + 2c] positions read by each chunk: kept slots, previous chunk, own chunk."""
        c = self.schedule.chunk
        chunk = torch.arange(group.first, group.last)[:, None]
        local = (chunk - 1) * c + torch.arange(2 * c)
        return torch.cat([group.slots, local.clamp(min=0)], dim=1)
