"""Eviction: which held slots stay as a chunk begins, by their scores; the same sets as lifetimes tell in advance."""

import numpy as np
import torch
from torch import Tensor

from l2m_design.architecture.mixers import SparseAttention
from l2m_design.architecture.schedules import ChunkSchedule, GlobalBudget
from l2m_design.model.attention import KeyValues
from l2m_design.model.lifetimes import best, best_lifetimes, ranked_lifetimes, spread_lifetimes

GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 are spread evenly, however many


class Eviction:
    """The rule of a sparse layer for the keys and values of its past, whoever made them."""

    def __init__(self, spec: SparseAttention) -> None:
        self.schedule, self.choose, self.chunk, self.sinks = spec.growth, spec.choose, spec.chunk, spec.sinks
        self.score_heads, self.surprised = spec.score_heads, spec.surprised

    def new_scores(self, b: int, seen: int, t: int, device: torch.device) -> Tensor | None:
        """[b s t] of the t tokens after `seen` ones, where neither layer nor model has its say."""
        if not self.score_heads:
            return None
        new = torch.zeros(b, self.score_heads, t, device=device)
        if self.choose == "spread":
            return new + torch.arange(seen, seen + t, device=device, dtype=torch.float64).mul(GOLDEN).frac().float()
        return new + 1 if self.surprised else new

    def weigh(self, state: KeyValues, surprise: Tensor) -> KeyValues:
        """The scores of the last tokens become worth · surprise [b n]."""
        if not self.surprised or state.scores is None:
            return state
        before, last = state.scores[..., : -surprise.shape[1]], state.scores[..., -surprise.shape[1] :]
        return state._replace(scores=torch.cat([before, last * surprise[:, None]], dim=-1))

    def worth(self, keys: Tensor, scores: Tensor | None) -> Tensor:
        """[b s t] of tokens in the order of time, from the first on: the greater, the longer it stays.

        What is computed counts in the steps of bfloat16: scores that are equal but for rounding tie, and of equals the
        earlier stays.
        """
        if self.choose == "recency":
            worth = torch.arange(keys.shape[2], device=keys.device, dtype=torch.float32)[None, None]
        elif self.choose == "spread" and scores is not None:
            worth = scores
        else:
            found = -keys.norm(dim=-1) if scores is None else scores
            worth = found.bfloat16().float()
        if not self.sinks:
            return worth
        first = torch.arange(keys.shape[2], device=keys.device) < self.sinks
        return worth.masked_fill(first, torch.inf)

    @torch.no_grad()
    def lifetimes(self, keys: Tensor, scores: Tensor | None) -> Tensor:
        """[b' s t] lifetimes of the tokens of a fresh sequence (see lifetimes)."""
        if isinstance(self.schedule, GlobalBudget):
            return best_lifetimes(self.schedule, self.worth(keys, scores))
        if self.choose == "spread":
            return spread_lifetimes(self.schedule, keys.shape[2]).to(keys.device)
        return ranked_lifetimes(self.schedule, self.worth(keys, scores))

    def evict(self, state: KeyValues) -> KeyValues:
        """If a chunk begins at state.seen, evict the tokens that do not stay cached in it."""
        current, inside = divmod(state.seen, self.chunk)
        if inside or current < 2:
            return state
        staying = self._staying(state, current)
        return state if staying is None else take(state, staying)

    @torch.no_grad()
    def _staying(self, state: KeyValues, current: int) -> Tensor | None:
        """[b' s slots] indices of the slots that stay, ascending; None: all."""
        if isinstance(self.schedule, GlobalBudget):
            if state.keys.shape[2] - self.chunk <= self.schedule.budget(current):
                return None
            return best_slots(self.schedule, self.worth(state.keys, state.scores), current)
        if self.choose == "spread":
            held = self.schedule.positions(state.seen)
            border = (current - 1) * self.chunk
            stays = np.isin(held, self.schedule.old_positions(current)) | (held >= border)
            return torch.from_numpy(np.nonzero(stays)[0])[None, None].to(state.keys.device)
        return ranked_slots(self.schedule, self.worth(state.keys, state.scores), current)


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
