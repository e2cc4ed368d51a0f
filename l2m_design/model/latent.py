"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one latent a token is all that is kept.

Whole sequences expand the latents to keys and values; a single token reads the latents themselves, the expansion
absorbed into its query and its output (unless the heads' keys are normalised, which cannot be absorbed).
"""

import math

import torch
from torch import Tensor, nn

from l2m_design.architecture.mixers import LatentAttention
from l2m_design.model.attention import CacheMixer, KeyValues, Lent, Projected, causal_over, joined
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import Pass, RMSNorm, ShortConvolution, linear, zeros_beside


class LatentMixer(CacheMixer):
    """Its state is a KeyValues with one head: `keys` are the latents [b 1 t r], `values` the keys' rotary parts."""

    def __init__(self, spec: LatentAttention, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__(spec, width, kernels)
        self.kv_rank, self.rope_dim, self.qk_norm = spec.kv_rank, spec.rope_dim, spec.qk_norm
        inputs = spec.q_rank or width
        self.query_down = linear(width, inputs) if spec.q_rank else nn.Identity()
        self.query_down_norm = RMSNorm(inputs) if spec.q_rank else nn.Identity()
        self.query = linear(inputs, spec.queried)
        self.key_up = linear(spec.kv_rank, spec.heads * spec.head_dim)
        self.value_up = linear(spec.kv_rank, spec.heads * spec.head_dim)
        self.out = linear(spec.heads * spec.head_dim, width, out_scale)
        self.query_norm, self.key_norm = self._norm(spec.head_dim), self._norm(spec.head_dim)
        self.query_rope_norm = self._norm(spec.rope_dim)
        if not self.shares:
            self.down = linear(width, spec.slot)
            self.latent_norm = RMSNorm(spec.kv_rank)
            self.key_rope_norm = self._norm(spec.rope_dim)
        if self.conv is not None and not self.shares and spec.q_rank is None and spec.kv_rank > 1:
            self._start_near_recall(self.conv)

    @torch.no_grad()
    def _start_near_recall(self, conv: ShortConvolution) -> None:
        """As attention with a convolution starts: half of the latent and the rotary part come from the token before and
        make the keys, the other half makes the values, and queries start as keys.
        """
        late, rank = self.kv_rank // 2, self.kv_rank
        kept = conv.weight[-(rank + self.rope_dim) :]
        for part in (kept[:late], kept[rank:]):
            part.copy_(part.roll(-1, dims=1))
        self.key_up.weight[:, late:] = 0
        self.value_up.weight[:, :late] = 0
        keys = (self.key_up.weight @ self.down.weight[:rank]).unflatten(0, (self.heads, -1))
        ropes = self.down.weight[rank:].expand(self.heads, -1, -1)
        self.query.weight.copy_(torch.cat([keys, ropes], dim=1).flatten(0, 1))

    def _norm(self, channels: int) -> nn.Module:
        return RMSNorm(channels) if self.qk_norm else nn.Identity()

    def empty(self, batch: int) -> KeyValues:
        """No latents yet."""
        like = self.out.weight
        latents, ropes = (zeros_beside(like, batch, 1, 0, size) for size in (self.kv_rank, self.rope_dim))
        return KeyValues(latents, ropes, self.no_conv(batch, like), 0)

    def project(self, x: Tensor, state: KeyValues) -> Projected:
        """See CacheMixer; `key` is the latent [b 1 t r], `value` the key's rotary part [b 1 t k]."""
        query = self.query(self.query_down_norm(self.query_down(x)))
        parts, conv = self.convolved([query] if self.shares else [query, self.down(x)], state)
        query = parts[0].unflatten(-1, (self.heads, -1)).transpose(1, 2)
        still, rope = query.split([self.head_dim, self.rope_dim], dim=-1)
        still, ropes = self.query_norm(still), [self.query_rope_norm(rope)]
        if self.shares:
            query = torch.cat([still, *self.turned(state.seen, *ropes)], dim=-1)
            return Projected(query, state.keys, state.values, conv)
        latent, key = parts[1][:, None].split([self.kv_rank, self.rope_dim], dim=-1)
        rope, key = self.turned(state.seen, *ropes, self.key_rope_norm(key))
        return Projected(torch.cat([still, rope], dim=-1), self.latent_norm(latent), key, conv)

    def read(self, query: Tensor, lent: Lent, given: Pass) -> tuple[Tensor, KeyValues]:
        """See CacheMixer."""
        after = joined(lent.key, lent.value, lent.before)
        latents, ropes = after.keys, after.values
        if query.shape[2] == 1 and not self.qk_norm:
            return self._absorbed(query, latents, ropes), after
        keys, values = (
            up(latents[:, 0]).unflatten(-1, (self.heads, -1)).transpose(1, 2) for up in (self.key_up, self.value_up)
        )
        keys = torch.cat([self.key_norm(keys), ropes.expand(-1, self.heads, -1, -1)], dim=-1)
        return causal_over(query, keys, values, self.kernels), after

    def _absorbed(self, query: Tensor, latents: Tensor, ropes: Tensor) -> Tensor:
        """[b h 1 k] of one token, reading latents [b 1 s r] instead of keys."""
        still, rope = query.split([self.head_dim, self.rope_dim], dim=-1)
        key_up, value_up = (up.weight.unflatten(0, (self.heads, -1)) for up in (self.key_up, self.value_up))
        scores = (still @ key_up) @ latents.transpose(-1, -2) + rope @ ropes.transpose(-1, -2)
        weights = (scores / math.sqrt(query.shape[-1])).softmax(-1)
        return (weights @ latents) @ value_up.transpose(-1, -2)
