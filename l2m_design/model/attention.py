"""Softmax attention with grouped key-value heads, over all past tokens or a sliding window."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.mixers import Attention, SparseAttention
from l2m_design.model.mixer import Mixer, RMSNorm, ShortConvolution, linear
from l2m_design.model.rotary import rotate


class KeyValues(NamedTuple):
    """Held keys and values [b g slots k] in the order of time; conv [b channels taps-1], the convolution's
    last inputs (no channels without one); seen: tokens read so far.
    """

    keys: Tensor
    values: Tensor
    conv: Tensor
    seen: int


class Projected(NamedTuple):
    """Queries [b h t k], keys and values [b g t k] of new tokens, and the convolution's last inputs."""

    query: Tensor
    key: Tensor
    value: Tensor
    conv: Tensor


class KeyValueMixer(Mixer):
    """Projections, optional convolution and norms, and rotary positions that every attention shares."""

    def __init__(self, spec: Attention | SparseAttention, width: int, out_scale: float) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = spec.heads, spec.kv_heads, spec.head_dim
        self.rope_theta = spec.rope_theta
        self.query = linear(width, spec.heads * spec.head_dim)
        self.key = linear(width, spec.kv_heads * spec.head_dim)
        self.value = linear(width, spec.kv_heads * spec.head_dim)
        self.out = linear(spec.heads * spec.head_dim, width, out_scale)
        self.conv = ShortConvolution(spec.projected, spec.short_conv) if spec.short_conv else None
        self.query_norm = RMSNorm(spec.head_dim) if spec.qk_norm else nn.Identity()
        self.key_norm = RMSNorm(spec.head_dim) if spec.qk_norm else nn.Identity()

    def empty(self, batch: int) -> KeyValues:
        """No keys yet."""
        new = self.key.weight.new_zeros
        none = new(batch, self.kv_heads, 0, self.head_dim)
        conv = new(batch, 0, 0) if self.conv is None else new(batch, *self.conv.before)
        return KeyValues(none, none, conv, 0)

    def project(self, x: Tensor, state: KeyValues) -> Projected:
        """Queries, keys and values of x [b t d], the tokens that follow `state`."""
        at = torch.arange(state.seen, state.seen + x.shape[1], device=x.device)
        conv = state.conv
        query, key, value = self.query(x), self.key(x), self.value(x)
        if self.conv is not None:
            sizes = [query.shape[-1], key.shape[-1], value.shape[-1]]
            mixed, conv = self.conv(torch.cat([query, key, value], dim=-1), conv)
            query, key, value = mixed.split(sizes, dim=-1)
        query, key, value = (z.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for z in (query, key, value))
        query = rotate(self.query_norm(query), at, self.rope_theta)
        return Projected(query, rotate(self.key_norm(key), at, self.rope_theta), value, conv)

    def merge(self, y: Tensor) -> Tensor:
        """[b h t k] -> [b t d]."""
        merged: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return merged

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token is a sequence of one."""
        y, state = self(x[:, None], state)
        return y[:, 0], state


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Softmax attention of query [b h t k] over keys, values [b g s k], h a multiple of g.

    mask: boolean, True where attended, broadcast to [b h t s].
    """
    share = query.shape[1] // keys.shape[1]
    keys, values = (x.repeat_interleave(share, dim=1) if share > 1 else x for x in (keys, values))
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=causal)


def lower_right_mask(t: int, s: int, device: torch.device) -> Tensor:
    """[t s] True where key s may be read by query t when the last query aligns with the last key."""
    return torch.ones(t, s, dtype=torch.bool, device=device).tril(s - t)


class FullAttention(KeyValueMixer):
    """Attention over every past token."""

    def forward(self, x: Tensor, state: KeyValues) -> tuple[Tensor, KeyValues]:
        """See Mixer."""
        query, key, value, conv = self.project(x, state)
        t = x.shape[1]
        if state.seen:
            key = torch.cat([state.keys, key], dim=2)
            value = torch.cat([state.values, value], dim=2)
        if state.seen and t > 1:
            y = attend(query, key, value, mask=lower_right_mask(t, key.shape[2], x.device))
        else:
            y = attend(query, key, value, causal=t > 1)
        return self.merge(y), KeyValues(key, value, conv, state.seen + t)


class WindowAttention(KeyValueMixer):
    """Attention over the last `window` tokens, the reader included.

    Long inputs are read in blocks of `window` queries over their own and the previous block of keys, so
    the cost grows with length · window. The state holds the last `window` keys.
    """

    def __init__(self, spec: Attention, width: int, out_scale: float) -> None:
        super().__init__(spec, width, out_scale)
        assert spec.window is not None
        self.window = spec.window

    def forward(self, x: Tensor, state: KeyValues) -> tuple[Tensor, KeyValues]:
        """See Mixer."""
        query, key, value, conv = self.project(x, state)
        t, held = x.shape[1], state.keys.shape[2]
        key = torch.cat([state.keys, key], dim=2) if held else key
        value = torch.cat([state.values, value], dim=2) if held else value
        seen = state.seen + t
        if seen <= self.window:
            y = attend(query, key, value, mask=lower_right_mask(t, held + t, x.device))
        elif t <= self.window:
            mask = lower_right_mask(t, held + t, x.device)
            y = attend(query, key, value, mask=mask & ~mask.tril(held - self.window))
        else:
            y = self._blocked(query, key, value, held)
        last = slice(-min(seen, self.window), None)
        return self.merge(y), KeyValues(key[:, :, last], value[:, :, last], conv, seen)

    def _blocked(self, query: Tensor, key: Tensor, value: Tensor, held: int) -> Tensor:
        """Queries [b h t k] over keys [b g held+t k] in blocks of `window`."""
        b, t = query.shape[0], query.shape[2]
        w, blocks = self.window, -(-t // self.window)
        after = blocks * w - t
        query = F.pad(query, (0, 0, 0, after)).unflatten(2, (blocks, w)).transpose(1, 2).flatten(0, 1)
        key, value = (F.pad(z, (0, 0, w - held, after)).unfold(2, 2 * w, w) for z in (key, value))
        key, value = (z.permute(0, 2, 1, 4, 3).flatten(0, 1) for z in (key, value))
        mask = lower_right_mask(w, 2 * w, query.device)
        mask = (mask & ~mask.tril(0)).expand(blocks, w, 2 * w)
        if held < w:
            mask = mask.clone()
            mask[0, :, : w - held] = False
        y = attend(query, key, value, mask=mask.repeat(b, 1, 1)[:, None])
        return y.unflatten(0, (b, blocks)).transpose(1, 2).flatten(2, 3)[:, :, :t]


def build_attention(spec: Attention, width: int, out_scale: float) -> KeyValueMixer:
    """The building of an `attention` drawing."""
    return (FullAttention if spec.window is None else WindowAttention)(spec, width, out_scale)
