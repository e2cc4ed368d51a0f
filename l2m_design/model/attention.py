"""Softmax attention with grouped key-value heads, over all past tokens or a sliding window with sinks."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2m_design.architecture.mixers import Attention, KeyValueMixer, SparseAttention
from l2m_design.model.banded import banded_attention
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import Mixer, RMSNorm, ShortConvolution, linear
from l2m_design.model.rotary import rotate


class KeyValues(NamedTuple):
    """Held keys and values [b g slots k] in the order of time; conv [b taps-1 channels], the convolution's
    last inputs (no channels without one); seen: tokens read so far.
    """

    keys: Tensor
    values: Tensor
    conv: Tensor
    seen: int


class Lent(NamedTuple):
    """What a layer lends to those that share its cache: keys and values of the new tokens, its state before them."""

    key: Tensor
    value: Tensor
    before: KeyValues


class Projected(NamedTuple):
    """Queries [b h t k], what is kept of the new tokens [b g t k], and the convolution's last inputs."""

    query: Tensor
    key: Tensor
    value: Tensor
    conv: Tensor


class CacheMixer(Mixer):
    """A mixer that keeps something of every token it has read, or reads what an earlier layer kept."""

    out: nn.Linear

    def __init__(self, spec: KeyValueMixer, width: int, kernels: Kernels) -> None:
        super().__init__()
        self.kernels = kernels
        self.shares = spec.share is not None
        self.heads, self.head_dim, self.rope_theta = spec.heads, spec.head_dim, spec.rope_theta
        self.conv = ShortConvolution(spec.projected, spec.short_conv) if spec.short_conv else None

    @abstractmethod
    def empty(self, batch: int) -> KeyValues:
        """Nothing held yet."""

    @abstractmethod
    def project(self, x: Tensor, state: KeyValues) -> Projected:
        """Queries of x [b t d], the tokens that follow `state`, and what is kept of them (empty in a sharing layer)."""

    @abstractmethod
    def read(self, query: Tensor, key: Tensor, value: Tensor, before: KeyValues) -> tuple[Tensor, Tensor, Tensor]:
        """Attention [b h t v] of the queries over what was held before and the new tokens; keys, values held after."""

    def merge(self, y: Tensor) -> Tensor:
        """[b h t v] -> [b t d]."""
        merged: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return merged

    def forward(self, x: Tensor, state: KeyValues) -> tuple[Tensor, KeyValues]:
        """See Mixer."""
        y, state, _ = self.lending(x, state, None)
        return y, state

    def lending(self, x: Tensor, state: KeyValues, lent: Lent | None) -> tuple[Tensor, KeyValues, Lent]:
        """See Mixer: a sharing layer holds nothing but its convolution's inputs."""
        new = self.project(x, state)
        if not self.shares:
            lent = Lent(new.key, new.value, state)
        if lent is None:
            raise ValueError("a layer that shares a cache needs what the other layer lends")
        y, keys, values = self.read(new.query, *lent)
        if self.shares:
            keys, values = state.keys, state.values
        return self.merge(y), KeyValues(keys, values, new.conv, state.seen + x.shape[1]), lent

    def convolved(self, parts: list[Tensor], state: KeyValues) -> tuple[list[Tensor], Tensor]:
        """The parts [b t .] after one short convolution over all of them, and its last inputs."""
        return (parts, state.conv) if self.conv is None else self.conv(parts, state.conv)

    def no_conv(self, batch: int, like: Tensor) -> Tensor:
        """The convolution's state before the first token; no channels without one."""
        return like.new_zeros(batch, 0, 0) if self.conv is None else self.conv.empty(batch)

    def turned(self, z: Tensor, seen: int) -> Tensor:
        """[b h t k] with rotary positions from `seen` on, or as it is without positions."""
        if self.rope_theta is None:
            return z
        at = torch.arange(seen, seen + z.shape[2], device=z.device)
        return rotate(z, at, self.rope_theta)


class HeadAttention(CacheMixer):
    """Projections, optional convolution and norms, and rotary positions of attention with keys and values in heads."""

    def __init__(
        self, spec: Attention | SparseAttention, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH
    ) -> None:
        super().__init__(spec, width, kernels)
        self.kv_heads = spec.kv_heads
        self.query = linear(width, spec.queried)
        if not self.shares:
            self.key = linear(width, spec.kv_heads * spec.head_dim)
            self.value = linear(width, spec.kv_heads * spec.head_dim)
            self.key_norm = RMSNorm(spec.head_dim) if spec.qk_norm else nn.Identity()
        self.query_norm = RMSNorm(spec.head_dim) if spec.qk_norm else nn.Identity()
        self.out = linear(spec.queried, width, out_scale)
        if self.conv is not None and not self.shares:
            self._start_near_recall(self.conv, spec)

    @torch.no_grad()
    def _start_near_recall(self, conv: ShortConvolution, spec: Attention | SparseAttention) -> None:
        """A token's key starts as that of the token before it, one query head of each group as its key: near an
        induction head.

        From elsewhere a layer learns recall key by key, or not at all (reports/mixers tells how much).
        """
        keys = slice(spec.queried, spec.queried + spec.kv_heads * spec.head_dim)
        conv.weight[keys] = conv.weight[keys].roll(-1, dims=1)
        heads = self.query.weight.unflatten(0, (spec.kv_heads, -1, spec.head_dim))
        heads[:, 0] = self.key.weight.unflatten(0, (spec.kv_heads, spec.head_dim))

    def empty(self, batch: int) -> KeyValues:
        """No keys yet."""
        like = self.query.weight
        none = like.new_zeros(batch, self.kv_heads, 0, self.head_dim)
        return KeyValues(none, none, self.no_conv(batch, like), 0)

    def project(self, x: Tensor, state: KeyValues) -> Projected:
        """See CacheMixer."""
        parts = [self.query(x)] if self.shares else [self.query(x), self.key(x), self.value(x)]
        parts, conv = self.convolved(parts, state)
        query, *kept = (z.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for z in parts)
        query = self.turned(self.query_norm(query), state.seen)
        if self.shares:
            return Projected(query, state.keys, state.values, conv)
        return Projected(query, self.turned(self.key_norm(kept[0]), state.seen), kept[1], conv)


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of query [b h t k] over keys, values [b g s k], h a multiple of g.

    mask: boolean, True where attended, broadcast to [b 1 t s]. The heads of a group are rows of one matrix, so
    keys are never repeated.
    """
    share = query.shape[1] // keys.shape[1]
    rows = query.unflatten(1, (-1, share)).flatten(2, 3)
    mask = mask if mask is None or share == 1 else mask.repeat(*[1] * (mask.ndim - 2), share, 1)
    y = F.scaled_dot_product_attention(rows, keys, values, attn_mask=mask)
    return y.unflatten(2, (share, -1)).flatten(1, 2)


def lower_right_mask(t: int, s: int, device: torch.device) -> Tensor:
    """[t s] True where key s may be read by query t when the last query aligns with the last key."""
    return torch.ones(t, s, dtype=torch.bool, device=device).tril(s - t)


def joined(key: Tensor, value: Tensor, before: KeyValues) -> tuple[Tensor, Tensor]:
    """Held keys and values with the new ones behind them."""
    if not before.seen:
        return key, value
    return torch.cat([before.keys, key], dim=2), torch.cat([before.values, value], dim=2)


class FullAttention(HeadAttention):
    """Attention over every past token."""

    def read(self, query: Tensor, key: Tensor, value: Tensor, before: KeyValues) -> tuple[Tensor, Tensor, Tensor]:
        """See CacheMixer."""
        keys, values = joined(key, value, before)
        return causal_over(query, keys, values, self.kernels), keys, values


def causal_over(query: Tensor, keys: Tensor, values: Tensor, kernels: Kernels) -> Tensor:
    """[b h t v] causal attention whose last query stands at the last key."""
    if query.shape[2] == keys.shape[2]:
        return kernels.causal(query, keys, values)
    if query.shape[2] == 1:
        return attend(query, keys, values)
    return banded_attention(query, keys, values, keys.shape[2])


class WindowAttention(HeadAttention):
    """Attention over the last `window` tokens, the reader included, and the first `sinks`: all that the state holds."""

    def __init__(self, spec: Attention, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
        super().__init__(spec, width, out_scale, kernels)
        assert spec.window is not None
        self.window, self.sinks = spec.window, spec.sinks

    def read(self, query: Tensor, key: Tensor, value: Tensor, before: KeyValues) -> tuple[Tensor, Tensor, Tensor]:
        """See CacheMixer."""
        keys, values = joined(key, value, before)
        last_keys, last_values = self._last(keys), self._last(values)
        if query.shape[2] == 1:
            y = attend(query, last_keys, last_values)
        elif before.seen:
            y = banded_attention(query, keys, values, self.window, self.sinks)
        elif query.shape[2] <= self.window:
            y = self.kernels.causal(query, keys, values)
        else:
            y = self.kernels.window(query, keys, values, self.window, self.sinks)
        return y, last_keys, last_values

    def _last(self, z: Tensor) -> Tensor:
        """[b g slots k] of the sinks and the window."""
        if z.shape[2] <= self.window + self.sinks:
            return z
        last = z[:, :, -self.window :]
        return torch.cat([z[:, :, : self.sinks], last], dim=2) if self.sinks else last
