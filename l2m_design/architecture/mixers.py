"""The catalogue of token mixers: each says its state law, parameters and flops for a model width, without torch."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from l2m_design.architecture.schedules import PowerSchedule
from l2m_design.laws import Fixed, Growth, StateLaw, StateTerm, Tokens
from l2m_design.settings import Values

Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _KeyValueMixer(Values):
    """What every attention shares: `heads` query heads over `kv_heads` key-value heads, rotary positions.

    qk_norm: RMSNorm of each head's query and key, as in Qwen3. short_conv: taps of a causal depthwise
    convolution on queries, keys and values, none by default; its last inputs are state.
    """

    kind: str
    heads: Count
    kv_heads: Count
    head_dim: Annotated[int, Field(ge=2, le=1024, multiple_of=2)]
    rope_theta: Annotated[float, Field(gt=1.0)] = 10000.0
    qk_norm: bool = False
    short_conv: Annotated[int, Field(ge=2, le=16)] | None = None

    @model_validator(mode="after")
    def _heads_divide(self) -> "_KeyValueMixer":
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self

    @property
    def growth(self) -> Growth:
        """Keys held after t tokens."""
        raise TypeError(f"{type(self).__name__} names no growth")

    def misfit(self, width: int) -> str | None:
        """Why the mixer cannot be built at this model width, if it cannot."""
        return None

    @property
    def projected(self) -> int:
        """Channels of queries, keys and values together."""
        return self.head_dim * (self.heads + 2 * self.kv_heads)

    def state_law(self, width: int) -> StateLaw:
        """2 · kv_heads · head_dim elements in each held slot; short_conv - 1 columns of the convolution."""
        law = StateLaw((StateTerm(2 * self.kv_heads * self.head_dim, self.growth),))
        if self.short_conv:
            law += StateLaw((StateTerm(self.projected * (self.short_conv - 1), Fixed()),))
        return law

    def _projections(self, width: int) -> int:
        return width * (self.projected + self.heads * self.head_dim)

    def parameters(self, width: int) -> int:
        """Query, key, value and output projections without biases, convolution, norms."""
        convolution = self.projected * (self.short_conv or 0)
        return self._projections(width) + convolution + (2 * self.head_dim if self.qk_norm else 0)

    def flops(self, width: int, length: int) -> int:
        """Floating-point operations of one forward pass over one sequence of `length` tokens."""
        pairs = sum_of_counts(self.growth, length)
        a_token = self._projections(width) + self.projected * (self.short_conv or 0)
        return 2 * length * a_token + 4 * self.heads * self.head_dim * pairs


class Attention(_KeyValueMixer):
    """Softmax attention over all past tokens, or over the last `window` ones (the reader included)."""

    kind: Literal["attention"] = "attention"
    window: Count | None = None

    @property
    def growth(self) -> Growth:
        """Every token, or the last `window` ones."""
        return Tokens(self.window)

    @property
    def letter(self) -> str:
        """A for full attention, W for a window."""
        return "A" if self.window is None else "W"


class SparseAttention(_KeyValueMixer):
    """Attention over a thinned past: kept(t) grows as t^exponent (see schedules)."""

    kind: Literal["sparse_attention"] = "sparse_attention"
    chunk: Annotated[int, Field(ge=2, le=65536)]
    exponent: Annotated[float, Field(gt=0.0, le=1.0)]
    keep: Annotated[float, Field(gt=0.0, le=1e6)] = 1.0
    allocate: Literal["chunk"] = "chunk"
    choose: Literal["spread"] = "spread"

    @model_validator(mode="after")
    def _power_of_two(self) -> "SparseAttention":
        if self.chunk & (self.chunk - 1):
            raise ValueError(f"chunk ({self.chunk}) must be a power of two")
        return self

    @property
    def growth(self) -> PowerSchedule:
        """The schedule by which old keys are let go."""
        return PowerSchedule(self.chunk, self.exponent, self.keep)

    @property
    def letter(self) -> str:
        """S."""
        return "S"


class Mamba2(Values):
    """Mamba-2 (state space duality, arXiv 2405.21060): a recurrent state of fixed size."""

    kind: Literal["mamba2"] = "mamba2"
    d_state: Count
    head_dim: Count
    expand: Annotated[int, Field(ge=1, le=16)] = 2
    d_conv: Annotated[int, Field(ge=2, le=16)] = 4
    groups: Count = 1

    def inner(self, width: int) -> int:
        """d_inner: channels of the state space, expand · width."""
        return self.expand * width

    def heads(self, width: int) -> int:
        """Heads of head_dim channels each."""
        return self.inner(width) // self.head_dim

    def convolved(self, width: int) -> int:
        """Channels that pass the short convolution: x, B and C."""
        return self.inner(width) + 2 * self.groups * self.d_state

    @property
    def letter(self) -> str:
        """M."""
        return "M"

    def misfit(self, width: int) -> str | None:
        """Why the mixer cannot be built at this model width, if it cannot."""
        if self.inner(width) % self.head_dim:
            return f"expand x width ({self.inner(width)}) must be a multiple of head_dim ({self.head_dim})"
        if self.heads(width) % self.groups:
            return f"its {self.heads(width)} heads must be a multiple of groups ({self.groups})"
        return None

    def state_law(self, width: int) -> StateLaw:
        """heads · head_dim · d_state of the recurrence and d_conv - 1 columns of the convolution."""
        recurrent = self.inner(width) * self.d_state
        return StateLaw((StateTerm(recurrent + self.convolved(width) * (self.d_conv - 1), Fixed()),))

    def parameters(self, width: int) -> int:
        """Input projection (z, x, B, C, dt), convolution with bias, dt bias, A, D, gated norm, output projection."""
        inner, heads, convolved = self.inner(width), self.heads(width), self.convolved(width)
        into = width * (inner + convolved + heads)
        return into + convolved * (self.d_conv + 1) + 3 * heads + inner + inner * width

    def flops(self, width: int, length: int) -> int:
        """One forward pass over `length` tokens in the chunked form (64 tokens a chunk)."""
        inner, heads, convolved = self.inner(width), self.heads(width), self.convolved(width)
        projections = width * (2 * inner + convolved + heads)
        within = 64 * (self.groups * self.d_state + inner)
        across = 2 * inner * self.d_state
        return 2 * length * (projections + self.d_conv * convolved + within + across)


MixerSpec = Annotated[Attention | SparseAttention | Mamba2, Field(discriminator="kind")]


def sum_of_counts(growth: Growth, length: int) -> int:
    """About the sum over t <= length of the keys held after t tokens, from 65 lengths (trapezoids)."""
    at = np.unique(np.linspace(1, length, 65).astype(np.int64))
    held = [growth.count(int(t)) for t in at]
    return int(np.trapezoid(held, at) + (held[0] + held[-1]) / 2)
