"""Mixers that keep keys and values: attention (full, window, sinks) and latent attention."""

from abc import abstractmethod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from l2m_design.architecture.mixers.base import Count, MixerBase, Taps, convolution_law, sum_of_counts
from l2m_design.laws import Growth, StateLaw, StateTerm, Tokens
from l2m_design.settings import Json

HeadDim = Annotated[int, Field(ge=2, le=1024, multiple_of=2)]


class KeyValueMixer(MixerBase):
    """Base of all attention mixers.

    heads: number of query heads. head_dim: channels per head. rope_theta: base of the rotary positions; null for none.
    qk_norm: apply RMSNorm to the query and key of each head, as Qwen3 does. short_conv: taps of a causal depthwise
    convolution on queries, keys and values, by default none; its last inputs are part of the state. share: number of an
    earlier layer (from 0) whose cache this layer reads; it then has queries only and no cache of its own.
    """

    heads: Count
    head_dim: HeadDim
    rope_theta: Annotated[float, Field(gt=1.0)] | None = 10000.0
    qk_norm: bool = False
    short_conv: Taps | None = None
    share: Annotated[int, Field(ge=0)] | None = None

    @property
    @abstractmethod
    def growth(self) -> Growth:
        """Keys held after t tokens."""

    @property
    @abstractmethod
    def slot(self) -> int:
        """Elements of one held token."""

    @property
    @abstractmethod
    def queried(self) -> int:
        """Channels of the queries of a token."""

    @property
    def projected(self) -> int:
        """Channels that the short convolution passes: queries, and what is kept of a token."""
        return self.queried if self.share is not None else self.queried + self.slot

    @property
    def lends(self) -> bool:
        """May other layers read this one's cache?"""
        return True

    @property
    @abstractmethod
    def cache(self) -> Json:
        """What two layers must have in common to read one cache."""

    def state_law(self, width: int) -> StateLaw:
        """`slot` elements in each held slot, none where the cache is another layer's; columns of the convolution."""
        own = StateLaw() if self.share is not None else StateLaw((StateTerm(self.slot, self.growth),))
        return own + convolution_law(self.projected, self.short_conv)


class HeadMixer(KeyValueMixer):
    """Attention with `heads` query heads and `kv_heads` heads of keys and values.

    kv_heads: number of heads of keys and values; `heads` must be a multiple of it.
    """

    kv_heads: Count

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self

    @property
    def slot(self) -> int:
        """A key and a value for each kv head."""
        return 2 * self.kv_heads * self.head_dim

    @property
    def queried(self) -> int:
        """heads · head_dim."""
        return self.heads * self.head_dim

    @property
    def cache(self) -> Json:
        """See KeyValueMixer."""
        return {name: getattr(self, name) for name in ("kind", "kv_heads", "head_dim", "rope_theta")}

    def _projections(self, width: int) -> int:
        return width * (self.projected + self.queried)

    def parameters(self, width: int) -> int:
        """Query, key, value and output projections without biases, convolution, norms."""
        norms = (1 if self.share is not None else 2) * self.head_dim if self.qk_norm else 0
        return self._projections(width) + self.projected * (self.short_conv or 0) + norms

    def flops(self, width: int, length: int) -> int:
        """Projections, convolution, and 4 · heads · head_dim for every key read."""
        a_token = self._projections(width) + self.projected * (self.short_conv or 0)
        return 2 * length * a_token + 4 * self.queried * sum_of_counts(self.growth, length)


class Attention(HeadMixer):
    """Softmax attention over all past tokens, or over the last `window` tokens, including the current one.

    window: number of cached tokens, by default all. sinks: number of first tokens that stay cached in addition to the
    window (StreamingLLM, arXiv 2309.17453, but with the positions of the text, in training as in decoding).
    """

    kind: Literal["attention"] = "attention"
    window: Count | None = None
    sinks: Annotated[int, Field(ge=0, le=65536)] = 0

    @model_validator(mode="after")
    def _sinks_need_a_window(self) -> Self:
        if self.sinks and self.window is None:
            raise ValueError(f"sinks ({self.sinks}): need a window; full attention reads the first tokens anyway")
        return self

    @property
    def growth(self) -> Growth:
        """Every token, or the sinks and the last `window` ones."""
        return Tokens(None if self.window is None else self.window + self.sinks)

    @property
    def cache(self) -> Json:
        """See KeyValueMixer."""
        return super().cache | {"window": self.window, "sinks": self.sinks}

    @property
    def state_kind(self) -> str:
        """`window` where there is one."""
        return "attention" if self.window is None else "window"

    @property
    def letter(self) -> str:
        """A for full attention, W for a window."""
        return "A" if self.window is None else "W"


class LatentAttention(KeyValueMixer):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one latent vector per token replaces all keys and
    values.

    head_dim: channels of values, and of the part of keys without positions. rope_dim: channels of the part of keys with
    rotary positions, which all heads share. kv_rank: channels of the latent. q_rank: rank of the low-rank projection of
    queries, by default none. qk_norm: normalise both parts of the query and key of each head.
    """

    kind: Literal["mla"] = "mla"
    kv_rank: Count
    rope_dim: HeadDim
    q_rank: Count | None = None

    @property
    def growth(self) -> Growth:
        """Every token."""
        return Tokens()

    @property
    def slot(self) -> int:
        """The latent and the key with positions."""
        return self.kv_rank + self.rope_dim

    @property
    def queried(self) -> int:
        """heads · (head_dim + rope_dim)."""
        return self.heads * (self.head_dim + self.rope_dim)

    @property
    def cache(self) -> Json:
        """See KeyValueMixer."""
        return {name: getattr(self, name) for name in ("kind", "kv_rank", "rope_dim", "rope_theta")}

    @property
    def letter(self) -> str:
        """L."""
        return "L"

    def _projections(self, width: int) -> int:
        into = width * self.queried if self.q_rank is None else self.q_rank * (width + self.queried)
        down = 0 if self.share is not None else width * self.slot
        return into + down + self.heads * self.head_dim * (2 * self.kv_rank + width)

    def parameters(self, width: int) -> int:
        """Projections down and up without biases, norms of the latents and of each head, convolution."""
        own = self.share is None
        norms = (self.q_rank or 0) + (self.kv_rank if own else 0)
        if self.qk_norm:
            norms += 2 * self.head_dim + self.rope_dim * (2 if own else 1)
        return self._projections(width) + self.projected * (self.short_conv or 0) + norms

    def flops(self, width: int, length: int) -> int:
        """Projections, convolution, and the expanded heads' reads of every key."""
        a_token = self._projections(width) + self.projected * (self.short_conv or 0)
        a_pair = 2 * self.heads * (2 * self.head_dim + self.rope_dim)
        return 2 * length * a_token + a_pair * sum_of_counts(self.growth, length)
