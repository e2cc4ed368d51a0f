"""Sparse attention: every chunk reads itself, the previous chunk, and the older tokens that a budget still holds.

A whole sequence is read in blocks by the lifetimes of its keys (see lifetimes): time and memory grow as
L^(1 + exponent), never an L x L mask. Decoding evicts at chunk borders and holds exactly the drawn slots.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.mixers import SparseAttention
from l2m_design.architecture.mixers.sparse import TAUGHT, VALUE_HIDDEN
from l2m_design.model.attention import HeadAttention, KeyValues, Lent, joined, lower_right_mask
from l2m_design.model.banded import attend
from l2m_design.model.eviction import Eviction, take
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.lifetimes import still_held
from l2m_design.model.mixer import PLAIN, Pass
from l2m_design.model.precision import wide


class SparseMixer(HeadAttention):
    """Sparse attention as drawn: which tokens are old, how many stay, and which."""

    def __init__(self, spec: SparseAttention, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__(spec, width, out_scale, kernels)
        self.eviction = Eviction(spec)
        self.choose, self.chunk, self.surprised = spec.choose, spec.chunk, spec.surprised
        if spec.choose in TAUGHT and not self.shares:
            self.score: nn.Module = nn.Linear(spec.slot, spec.kv_heads)
            if spec.choose == "value":
                hidden = nn.Linear(spec.slot, VALUE_HIDDEN)
                self.score = nn.Sequential(hidden, nn.SiLU(), nn.Linear(VALUE_HIDDEN, spec.kv_heads))

    def empty(self, batch: int) -> KeyValues:
        """No keys yet."""
        state = super().empty(batch)
        scores = self.eviction.new_scores(batch, 0, 0, state.keys.device)
        return state._replace(scores=None if scores is None else scores.to(wide(state.keys).dtype))

    def scored(self, key: Tensor, value: Tensor, seen: int) -> Tensor | None:
        """See HeadAttention; before the model's surprise, which `weigh` multiplies in."""
        if self.choose not in TAUGHT:
            return self.eviction.new_scores(len(key), seen, key.shape[2], key.device)
        tokens = torch.cat([key, value], dim=-1).transpose(1, 2).flatten(2)
        if self.choose == "learned":
            return wide(self.score(tokens)).transpose(1, 2)
        return F.softplus(wide(self.score(tokens.detach()))).transpose(1, 2)

    def weigh(self, state: KeyValues, surprise: Tensor) -> KeyValues:
        """See Mixer."""
        return state if self.shares else self.eviction.weigh(state, surprise)

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
                f"tokens without a known surprise must be read at most one chunk ({c} tokens) at a time, found {t}"
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

    def _until(self, key: Tensor, score: Tensor | None, given: Pass) -> Tensor:
        """[b' s t] lifetimes of the tokens of a fresh sequence."""
        if given.scope == "local":
            return (torch.arange(key.shape[2], device=key.device) // self.chunk + 2)[None, None]
        return self.eviction.lifetimes(key, score)

    def _continued(self, query: Tensor, lent: Lent) -> tuple[Tensor, KeyValues]:
        """Tokens that stay inside one chunk."""
        before = self.eviction.evict(lent.before)
        after = joined(lent.key, lent.value, before)
        keys, values = after.keys, after.values
        scores = (
            lent.score if before.scores is None or lent.score is None else torch.cat([before.scores, lent.score], -1)
        )
        mask = lower_right_mask(query.shape[2], keys.shape[2], query.device)
        if self.choose == "attention_mass" and scores is not None:
            y, mass = massed(query, keys, values, mask)
            scores = scores + mass.detach()
        else:
            y = self._unbiased(attend(*self._biased(query, keys, values, scores), mask=mask))
        return y, after._replace(scores=scores, seen=before.seen + query.shape[2])

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
