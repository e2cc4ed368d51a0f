"""Sparse attention: every chunk reads itself, the previous chunk, and the older tokens that a budget still holds.

A whole sequence is read in blocks by the lifetimes of its keys (see lifetimes): time and memory grow as
L^(1 + exponent), never an L x L mask. Decoding evicts at chunk borders and holds exactly the drawn slots.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.mixers import SparseAttention
from l2m_design.architecture.mixers.sparse import TAUGHT, VALUE_HIDDEN
from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model.attention import HeadAttention, KeyValues, Lent, attend, joined, lower_right_mask
from l2m_design.model.eviction import best_slots, ranked_slots, take
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.lifetimes import best_lifetimes, ranked_lifetimes, spread_lifetimes, still_held
from l2m_design.model.mixer import PLAIN, Pass
from l2m_design.model.precision import wide

GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 are spread evenly, however many


class SparseMixer(HeadAttention):
    """Sparse attention as drawn: which tokens are old, how many stay, and which."""

    def __init__(self, spec: SparseAttention, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__(spec, width, out_scale, kernels)
        self.schedule, self.choose, self.chunk = spec.growth, spec.choose, spec.chunk
        self.sinks, self.score_heads, self.surprised = spec.sinks, spec.score_heads, spec.surprised
        if spec.choose in TAUGHT and not self.shares:
            self.score: nn.Module = nn.Linear(spec.slot, spec.kv_heads)
            if spec.choose == "value":
                hidden = nn.Linear(spec.slot, VALUE_HIDDEN)
                self.score = nn.Sequential(hidden, nn.SiLU(), nn.Linear(VALUE_HIDDEN, spec.kv_heads))

    def empty(self, batch: int) -> KeyValues:
        """No keys yet."""
        state = super().empty(batch)
        return state._replace(scores=state.keys.new_zeros(batch, self.score_heads, 0)) if self.score_heads else state

    def scored(self, key: Tensor, value: Tensor, seen: int) -> Tensor | None:
        """See HeadAttention; before the model's surprise, which `weigh` multiplies in."""
        b, _, t, _ = key.shape
        if self.choose in TAUGHT:
            tokens = torch.cat([key, value], dim=-1).transpose(1, 2).flatten(2)
            tokens = tokens.detach() if self.choose == "value" else tokens
            score = wide(self.score(tokens)).transpose(1, 2)
            return F.softplus(score) if self.choose == "value" else score
        if not self.score_heads:
            return None
        new = torch.zeros(b, self.score_heads, t, device=key.device)
        if self.choose == "spread":
            return new + torch.arange(seen, seen + t, device=key.device, dtype=torch.float64).mul(GOLDEN).frac().float()
        return new + 1 if self.surprised else new

    def weigh(self, state: KeyValues, surprise: Tensor) -> KeyValues:
        """See Mixer: the scores of the last tokens become worth · surprise."""
        if not self.surprised or self.shares or state.scores is None:
            return state
        before, last = state.scores[..., : -surprise.shape[1]], state.scores[..., -surprise.shape[1] :]
        return state._replace(scores=torch.cat([before, last * surprise[:, None]], dim=-1))

    def lending(
        self, x: Tensor, state: KeyValues, lent: Lent | None, given: Pass = PLAIN
    ) -> tuple[Tensor, KeyValues, Lent]:
        """See Mixer."""
        if given.seen is not None and self.choose == "value" and not self.shares:
            given.seen.append((self, x))
        return super().lending(x, state, lent, given)

    @torch.compiler.disable  # its loops over chunks would be unrolled
    def read(self, query: Tensor, lent: Lent, given: Pass) -> tuple[Tensor, KeyValues]:
        """See CacheMixer. A fresh sequence is read in whole; a continued one goes chunk by chunk."""
        t, c = query.shape[2], self.chunk
        if not lent.before.seen:
            if given.scope == "all" or (t <= 2 * c and self.choose != "attention_mass"):
                return self._whole(query, lent)
            if given.scope == "local" or self._known(given):
                return self._fresh(query, lent, given)
        if self.surprised and t > c:
            raise ValueError(
                f"tokens whose surprise is not known are read at most one chunk ({c}) at a time, found {t}"
            )
        pieces, done, before = [], 0, lent.before
        while done < t:
            piece = slice(done, done + c - before.seen % c)
            score = None if lent.score is None else lent.score[..., piece]
            part = Lent(lent.key[:, :, piece], lent.value[:, :, piece], score, before)
            y, before = self._continued(query[:, :, piece], part)
            pieces.append(y)
            done += y.shape[2]
        return torch.cat(pieces, dim=2), before

    def _known(self, given: Pass) -> bool:
        """Can it be told at once which tokens stay?"""
        return self.choose != "attention_mass" and (not self.surprised or given.surprise is not None)

    def _whole(self, query: Tensor, lent: Lent) -> tuple[Tensor, KeyValues]:
        """All tokens are read, and held."""
        y = self._unbiased(self.kernels.causal(*self._biased(query, lent.key, lent.value, lent.score)))
        return y, lent.before._replace(keys=lent.key, values=lent.value, scores=lent.score)

    def _fresh(self, query: Tensor, lent: Lent, given: Pass) -> tuple[Tensor, KeyValues]:
        score = lent.score
        if self.surprised and score is not None and given.surprise is not None:
            score = score * given.surprise[:, None]
        until = self._until(lent.key, score, given)
        y = self.kernels.held(*self._biased(query, lent.key, lent.value, score), until, self.chunk)
        after = take(
            lent.before._replace(keys=lent.key, values=lent.value, scores=score), still_held(until, self.chunk)
        )
        return self._unbiased(y), after

    @torch.no_grad()
    def _until(self, key: Tensor, score: Tensor | None, given: Pass) -> Tensor:
        """[b' s t] lifetimes of the tokens of a fresh sequence."""
        t = key.shape[2]
        if given.scope == "local":
            return (torch.arange(t, device=key.device) // self.chunk + 2)[None, None]
        if not isinstance(self.schedule, GlobalBudget):
            if self.choose == "spread":
                return spread_lifetimes(self.schedule, t).to(key.device)
            return ranked_lifetimes(self.schedule, self._worth(key, score))
        return best_lifetimes(self.schedule, self._worth(key, score))

    def _worth(self, key: Tensor, score: Tensor | None) -> Tensor:
        """[b s t] of tokens in the order of time, from the first on: the greater, the longer it stays.

        In the steps of bfloat16: scores that are equal but for rounding tie, and of equals the earlier stays.
        """
        if self.choose == "recency":
            worth = torch.arange(key.shape[2], device=key.device, dtype=torch.float32)[None, None]
        else:
            found = -key.norm(dim=-1) if score is None else score
            worth = found.bfloat16().float()
        if not self.sinks:
            return worth
        first = torch.arange(key.shape[2], device=key.device) < self.sinks
        return worth.masked_fill(first, torch.inf)

    def _continued(self, query: Tensor, lent: Lent) -> tuple[Tensor, KeyValues]:
        """Tokens that stay inside one chunk."""
        before = self._evict(lent.before)
        keys, values = joined(lent.key, lent.value, before)
        scores = (
            lent.score if before.scores is None or lent.score is None else torch.cat([before.scores, lent.score], -1)
        )
        mask = lower_right_mask(query.shape[2], keys.shape[2], query.device)
        if self.choose == "attention_mass" and scores is not None:
            y, mass = massed(query, keys, values, mask)
            scores = scores + mass.detach()
        else:
            y = self._unbiased(attend(*self._biased(query, keys, values, scores), mask=mask))
        return y, before._replace(keys=keys, values=values, scores=scores, seen=before.seen + query.shape[2])

    @torch.no_grad()
    def _staying(self, state: KeyValues, current: int) -> Tensor | None:
        """[b' s slots] indices of the slots that stay as chunk number `current` begins, ascending; None: all."""
        if isinstance(self.schedule, GlobalBudget):
            if state.keys.shape[2] - self.chunk <= self.schedule.budget(current):
                return None
            return best_slots(self.schedule, self._worth(state.keys, state.scores), current)
        if self.choose == "spread":
            held = self.schedule.positions(state.seen)
            border = (current - 1) * self.chunk
            stays = np.isin(held, self.schedule.old_positions(current)) | (held >= border)
            return torch.from_numpy(np.nonzero(stays)[0])[None, None].to(state.keys.device)
        return ranked_slots(self.schedule, self._worth(state.keys, state.scores), current)

    def _evict(self, state: KeyValues) -> KeyValues:
        """Let go of what the chunk that begins at state.seen no longer keeps."""
        current, inside = divmod(state.seen, self.chunk)
        if inside or current < 2:
            return state
        staying = self._staying(state, current)
        return state if staying is None else take(state, staying)

    def _biased(
        self, query: Tensor, keys: Tensor, values: Tensor, score: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """With `learned`, ln sigmoid(score) of each key on its logits, as one more channel of keys and queries."""
        if self.choose != "learned" or score is None:
            return query, keys, values
        k = query.shape[-1] + 1
        query = F.pad(query * (k / (k - 1)) ** 0.5, (0, 1), value=k**0.5)
        return query, torch.cat([keys, F.logsigmoid(score).to(keys.dtype)[..., None]], dim=-1), F.pad(values, (0, 1))

    def _unbiased(self, y: Tensor) -> Tensor:
        return y[..., :-1] if self.choose == "learned" else y


def massed(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attention [b h t v], and the weight that each key got from all queries of its group of heads [b g s]."""
    share = query.shape[1] // keys.shape[1]
    rows = query.unflatten(1, (-1, share))
    logits = wide(rows @ keys.transpose(-1, -2)[:, :, None]) / query.shape[-1] ** 0.5
    weights = logits.masked_fill(~mask, -torch.inf).softmax(-1)
    y = weights.to(values.dtype) @ values[:, :, None]
    return y.flatten(1, 2), weights.sum((2, 3))
