"""Mixers with a recurrent state of fixed size: Mamba-1, Mamba-2 and the gated delta rule."""

from typing import Annotated, Literal

from pydantic import Field

from l2m_design.architecture.mixers.base import CHUNK, Count, MixerBase, StateDtype, Taps, convolution_law
from l2m_design.laws import Fixed, Growth, StateLaw, StateTerm


class Recurrent(MixerBase):
    """A mixer with a recurrent state that every token updates.

    d_conv: taps of the short convolution before it. state_dtype: data type in which the recurrent state is stored and
    counted, independent of the rest of the cache. By default the model stores float32, as runtimes do, and the state
    law counts the data type of the condition.
    """

    d_conv: Taps = 4
    state_dtype: StateDtype | None = None

    def _law(self, recurrent: int, channels: int, growth: Growth = Fixed()) -> StateLaw:  # noqa: B008 - a frozen value
        term = StateTerm(recurrent, growth, self.state_dtype)
        return StateLaw((term,)) + convolution_law(channels, self.d_conv)


class StateSpace(Recurrent):
    """Base of Mamba-2 and its growing variants: d_inner = expand · width channels, divided into heads with one decay
    each.

    d_state: state size: channels of B and C. head_dim: channels per head. expand: d_inner divided by the width of the
    model. groups: number of groups of heads that share B and C.
    """

    d_state: Count
    head_dim: Count
    expand: Annotated[int, Field(ge=1, le=16)] = 2
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

    def misfit(self, width: int) -> str | None:
        """Why the mixer cannot be built at this model width, if it cannot."""
        if self.inner(width) % self.head_dim:
            return f"expand x width ({self.inner(width)}) must be a multiple of head_dim ({self.head_dim})"
        if self.heads(width) % self.groups:
            return f"its {self.heads(width)} heads must be a multiple of groups ({self.groups})"
        return None

    def state_law(self, width: int) -> StateLaw:
        """heads · head_dim · d_state of the recurrence and d_conv - 1 columns of the convolution."""
        return self._law(self.inner(width) * self.d_state, self.convolved(width))

    def parameters(self, width: int) -> int:
        """Input projection (z, x, B, C, dt), convolution with bias, dt bias, A, D, gated norm, output projection."""
        inner, heads, convolved = self.inner(width), self.heads(width), self.convolved(width)
        into = width * (inner + convolved + heads)
        return into + convolved * (self.d_conv + 1) + 3 * heads + inner + inner * width

    def flops(self, width: int, length: int) -> int:
        """One forward pass over `length` tokens in the chunked form."""
        inner, heads, convolved = self.inner(width), self.heads(width), self.convolved(width)
        projections = width * (2 * inner + convolved + heads)
        within = CHUNK * (self.groups * self.d_state + inner)
        across = 2 * inner * self.d_state
        return 2 * length * (projections + self.d_conv * convolved + within + across)


class Mamba2(StateSpace):
    """Mamba-2 (state space duality, arXiv 2405.21060)."""

    kind: Literal["mamba2"] = "mamba2"

    @property
    def letter(self) -> str:
        """M."""
        return "M"


class Mamba1(Recurrent):
    """Mamba-1 (selective state space, arXiv 2312.00752): a decay for every channel and state.

    d_state: states per channel. expand: channels of the state space divided by the width of the model. dt_rank: rank of
    the projection of step sizes; by default width / 16, rounded up.
    """

    kind: Literal["mamba1"] = "mamba1"
    d_state: Count = 16
    expand: Annotated[int, Field(ge=1, le=16)] = 2
    dt_rank: Count | None = None

    @property
    def letter(self) -> str:
        """1."""
        return "1"

    def inner(self, width: int) -> int:
        """d_inner: channels of the state space, expand · width."""
        return self.expand * width

    def rank(self, width: int) -> int:
        """Rank of the step sizes' projection."""
        return self.dt_rank or -(-width // 16)

    def state_law(self, width: int) -> StateLaw:
        """d_inner · d_state of the recurrence and d_conv - 1 columns of the convolution."""
        return self._law(self.inner(width) * self.d_state, self.inner(width))

    def parameters(self, width: int) -> int:
        """Projections in, to (dt, B, C), of dt with bias and out; convolution with bias; A and D."""
        inner, rank = self.inner(width), self.rank(width)
        projections = 3 * width * inner + inner * (rank + 2 * self.d_state) + (rank + 1) * inner
        return projections + inner * (self.d_conv + 1) + inner * self.d_state + inner

    def flops(self, width: int, length: int) -> int:
        """Projections, convolution, and six operations for every element of the state."""
        inner, rank = self.inner(width), self.rank(width)
        a_token = 3 * width * inner + inner * (2 * rank + 2 * self.d_state) + self.d_conv * inner
        return length * (2 * a_token + 6 * inner * self.d_state)


class GatedDeltaNet(Recurrent):
    """Gated DeltaNet (arXiv 2412.06464): an associative memory with decay; a new value replaces the old one of its key.

    heads: number of heads. head_dim: channels of queries and keys per head. value_expand: values have value_expand ·
    head_dim channels.
    """

    kind: Literal["gated_deltanet"] = "gated_deltanet"
    heads: Count
    head_dim: Annotated[int, Field(ge=1, le=1024)]
    value_expand: Annotated[int, Field(ge=1, le=16)] = 2

    @property
    def letter(self) -> str:
        """D."""
        return "D"

    @property
    def value_dim(self) -> int:
        """Channels of a head's values."""
        return self.value_expand * self.head_dim

    @property
    def convolved(self) -> int:
        """Channels that pass the short convolution: queries, keys and values."""
        return self.heads * (2 * self.head_dim + self.value_dim)

    def state_law(self, width: int) -> StateLaw:
        """heads · head_dim · value_dim of the memory and d_conv - 1 columns of the convolution."""
        return self._law(self.heads * self.head_dim * self.value_dim, self.convolved)

    def _projections(self, width: int) -> int:
        return width * (self.convolved + 2 * self.heads * self.value_dim + 2 * self.heads)

    def parameters(self, width: int) -> int:
        """Queries, keys, values, gate, write strength, decay, output; convolution; A, dt bias, one norm of a head."""
        return self._projections(width) + self.convolved * self.d_conv + 2 * self.heads + self.value_dim

    def flops(self, width: int, length: int) -> int:
        """One forward pass over `length` tokens in the chunked form (WY representation)."""
        k, v = self.head_dim, self.value_dim
        within = CHUNK * (2 * k + v) + CHUNK * (k + v) // 2
        across = 3 * k * v
        return 2 * length * (self._projections(width) + self.d_conv * self.convolved + self.heads * (within + across))
