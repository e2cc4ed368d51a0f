"""Eviction: which held slots stay as a chunk begins, by their scores; the same sets as lifetimes tell in advance."""

import numpy as np
import torch
from torch import Tensor

from l2m_design.architecture.schedules import ChunkSchedule, GlobalBudget
from l2m_design.model.attention import KeyValues
from l2m_design.model.lifetimes import best


def best_slots(budget: GlobalBudget, worth: Tensor, current: int) -> Tensor:
    """[b s slots] ascending indices into slots of worth [b s n], of which the last chunk is still local."""
    slots = torch.arange(worth.shape[-1], device=worth.device).expand(worth.shape)
    stays, _ = best(slots[..., : -budget.chunk], worth, budget.budget(current))
    return torch.cat([stays.sort(dim=-1).values, slots[..., -budget.chunk :]], dim=-1)


def ranked_slots(schedule: ChunkSchedule, worth: Tensor, current: int) -> Tensor:
    """[b s slots] ascending indices into slots of worth [b s n]: of every old chunk the best, the last chunk whole."""
    c = schedule.chunk
    held = np.concatenate([schedule.survivors(current - 1), [c, c]])
    keeps = np.concatenate([schedule.survivors(current), [c]])
    chunk = torch.from_numpy(np.repeat(np.arange(len(held)), held)).to(worth.device)
    order = worth.argsort(dim=-1, descending=True, stable=True)
    order = order.gather(-1, chunk[order].argsort(dim=-1, stable=True))  # by chunk, the best of each first
    rank = np.arange(held.sum()) - np.repeat(np.cumsum(held) - held, held)
    stays = torch.from_numpy(np.nonzero(rank < np.repeat(keeps, held))[0]).to(worth.device)
    return order[..., stays].sort(dim=-1).values


def take(state: KeyValues, slots: Tensor) -> KeyValues:
    """The state with only these slots [b' s n]; heads that share a score share its slots."""

    def chosen(z: Tensor) -> Tensor:
        if slots.shape[:2] == (1, 1):
            return z.index_select(2, slots[0, 0])
        index = slots.expand(z.shape[0], z.shape[1], -1)
        if z.ndim == 3:
            return z.gather(2, index)
        return z.gather(2, index[..., None].expand(-1, -1, -1, z.shape[-1]))

    scores = None if state.scores is None else chosen(state.scores)
    return state._replace(keys=chosen(state.keys), values=chosen(state.values), scores=scores)
