"""Softmax attention with grouped key-value heads, over all past tokens or a sliding window with sinks."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from l2m_design.architecture.mixers import Attention, HeadMixer, KeyValueMixer
from l2m_design.model.banded import attend, banded_attention
from l2m_design.model.competing import Slots
from l2m_design.model.growing import Room, appended
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.mixer import PLAIN, Mixer, Pass, RMSNorm, ShortConvolution, linear, zeros_beside
from l2m_design.model.rotary import rotate


class KeyValues(NamedTuple):
    """Held keys and values [b g slots k] in the order of time; conv [b taps-1 channels], the convolution's
    last inputs (no channels without one); seen: tokens read so far; scores [b s slots] where slots are chosen by them.

    Where heads compete, keys and values are those of the own and the previous chunk, scores [b g n 4] their records
    (see use), and slots the older tokens that are cached. room: memory to grow in, used where it holds these very keys
    and values.
    """

    keys: Tensor
    values: Tensor
    conv: Tensor
    seen: int
    scores: Tensor | None = None
    slots: Slots | None = None
    room: Room | None = None


class Lent(NamedTuple):
    """What a layer lends to those that share its cache: what it keeps of the new tokens (see Projected), its state
    before them.
    """

    key: Tensor
    value: Tensor
    score: Tensor | None
    before: KeyValues


class Projected(NamedTuple):
    """Queries [b h t k], what is kept of the new tokens [b g t k], and the convolution's last inputs; score [b s t]
    of the new tokens in a layer that has some.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    conv: Tensor
    score: Tensor | None = None


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
    def read(self, query: Tensor, lent: Lent, given: Pass) -> tuple[Tensor, KeyValues]:
        """Attention [b h t v] of the queries over what was held before and the new tokens; keys, values and scores held
        after.
        """

    def merge(self, y: Tensor) -> Tensor:
        """[b h t v] -> [b t d]."""
        merged: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return merged

    def forward(self, x: Tensor, state: KeyValues) -> tuple[Tensor, KeyValues]:
        """See Mixer."""
        y, state, _ = self.lending(x, state, None)
        return y, state

    def lending(
        self, x: Tensor, state: KeyValues, lent: Lent | None, given: Pass = PLAIN
    ) -> tuple[Tensor, KeyValues, Lent]:
        """See Mixer: the state of a layer that shares a cache is the inputs of its convolution."""
        new = self.project(x, state)
        if not self.shares:
            lent = Lent(new.key, new.value, new.score, state)
        if lent is None:
            raise ValueError("a layer that shares a cache needs the keys and values of the other layer, found none")
        y, after = self.read(new.query, lent, given)
        after = (state if self.shares else after)._replace(conv=new.conv, seen=state.seen + x.shape[1])
        return self.merge(y), after, lent

    def convolved(self, parts: list[Tensor], state: KeyValues) -> tuple[list[Tensor], Tensor]:
        """The parts [b t .] after one short convolution over all of them, and its last inputs."""
        return (parts, state.conv) if self.conv is None else self.conv(parts, state.conv)

    def no_conv(self, batch: int, like: Tensor) -> Tensor:
        """The convolution's state before the first token; no channels without one."""
        return zeros_beside(like, batch, 0, 0) if self.conv is None else self.conv.empty(batch)

    def turned(self, seen: int, *parts: Tensor) -> list[Tensor]:
        """Each of [b h t k] with rotary positions from `seen` on, or as it is without positions."""
        if self.rope_theta is None:
            return list(parts)
        at = torch.arange(seen, seen + parts[0].shape[2], device=parts[0].device)
        return rotate(parts, at, self.rope_theta)


class HeadAttention(CacheMixer):
    """Projections, optional convolution and norms, and rotary positions of attention with keys and values in heads."""

    def __init__(self, spec: HeadMixer, width: int, out_scale: float = 1.0, kernels: Kernels = TORCH) -> None:
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
    def _start_near_recall(self, conv: ShortConvolution, spec: HeadMixer) -> None:
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
        none = zeros_beside(like, batch, self.kv_heads, 0, self.head_dim)
        return KeyValues(none, none, self.no_conv(batch, like), 0)

    def project(self, x: Tensor, state: KeyValues) -> Projected:
        """See CacheMixer."""
        parts = [self.query(x)] if self.shares else [self.query(x), self.key(x), self.value(x)]
        parts, conv = self.convolved(parts, state)
        query, *kept = (z.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for z in parts)
        query = self.query_norm(query)
        if self.shares:
            return Projected(self.turned(state.seen, query)[0], state.keys, state.values, conv)
        plain, value = self.key_norm(kept[0]), kept[1]
        query, key = self.turned(state.seen, query, plain)
        return Projected(query, key, value, conv, self.scored(plain, value, state.seen))

    def scored(self, key: Tensor, value: Tensor, seen: int) -> Tensor | None:
        """[b s t] of new tokens' keys before rotation and values [b g t k], in a layer that chooses by scores."""
        return None


def lower_right_mask(t: int, s: int, device: torch.device) -> Tensor:
    """[t s] True where key s may be read by query t when the last query aligns with the last key."""
    return torch.ones(t, s, dtype=torch.bool, device=device).tril(s - t)


def joined(key: Tensor, value: Tensor, before: KeyValues) -> KeyValues:
    """The state after the new keys and values were appended to those that it holds."""
    if not before.seen:
        return before._replace(keys=key, values=value, room=None)
    keys, values, room = appended((before.keys, before.values), (key, value), before.room)
    return before._replace(keys=keys, values=values, room=room)


class FullAttention(HeadAttention):
    """Attention over every past token."""

    def read(self, query: Tensor, lent: Lent, given: Pass) -> tuple[Tensor, KeyValues]:
        """See CacheMixer."""
        after = joined(lent.key, lent.value, lent.before)
        return causal_over(query, after.keys, after.values, self.kernels), after


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

    def read(self, query: Tensor, lent: Lent, given: Pass) -> tuple[Tensor, KeyValues]:
        """See CacheMixer."""
        whole = joined(lent.key, lent.value, lent.before)
        keys, values, after = whole.keys, whole.values, self._last(whole)
        if query.shape[2] == 1:
            y = attend(query, after.keys, after.values)
        elif lent.before.seen:
            y = banded_attention(query, keys, values, self.window, self.sinks)
        elif query.shape[2] <= self.window:
            y = self.kernels.causal(query, keys, values)
        else:
            y = self.kernels.window(query, keys, values, self.window, self.sinks)
        return y, after

    def _last(self, state: KeyValues) -> KeyValues:
        """The state cut to the sinks and the window."""
        if state.keys.shape[2] <= self.window + self.sinks:
            return state
        keys, values = self._cut(state.keys), self._cut(state.values)
        room = None if self.sinks else state.room
        goes_on = room is not None and room.keeps(state.keys, state.values, (keys, values))
        return state._replace(keys=keys, values=values, room=room if goes_on else None)

    def _cut(self, z: Tensor) -> Tensor:
        last = z[:, :, -self.window :]
        return torch.cat([z[:, :, : self.sinks], last], dim=2) if self.sinks else last
