"""Published recurrent models of flash-linear-attention (fla-org): RWKV-7, and a Mamba-2 of its own."""

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Self

from pydantic import model_validator

from l2m_design.architecture.readers.config import LINEAR, Depth, Size, Taps, divides
from l2m_design.architecture.readers.fla import Fla, Ratio
from l2m_design.architecture.readers.fla_mixers import Ranks, rwkv7
from l2m_design.architecture.readers.mixers import Mixer, StateSpace, Weights, linear
from l2m_design.architecture.readers.shared import Sizes
from l2m_design.settings import Json

OF_FLA = ("fuse_norm", "fuse_cross_entropy", "fuse_linear_cross_entropy", "rmsnorm", "use_l2warp", "D_has_hdim")


def is_of_fla(data: Json) -> bool:
    """Is a config whose type transformers has too one of fla's, by its keys?"""
    return not data.keys().isdisjoint(OF_FLA)


class Rwkv7(Fla):
    """RWKV7ForCausalLM: the first layer has a norm before all others; a rank that is null follows from the width."""

    known: ClassVar[tuple[str, ...]] = (LINEAR,)

    head_dim: Size | None = 64
    num_heads: Size | None = None
    value_dim: Sizes | None = None
    decay_low_rank_dim: Size | None = 64
    gate_low_rank_dim: Size | None = 128
    a_low_rank_dim: Size | None = 64
    v_low_rank_dim: Size | None = 16
    hidden_ratio: Ratio | None = 4
    intermediate_size: Size | None = None
    norm_first: bool = True
    norm_bias: bool = True
    attn: Any = None

    @model_validator(mode="after")
    def _class_runs(self) -> Self:
        if self.attn is not None:
            raise ValueError("attn: must be null: RWKV7ForCausalLM has no attention layers")
        if set(self.value_dim or ()) - {self.hidden_size}:
            raise ValueError(f"value_dim: must be hidden_size ({self.hidden_size}); its class supports no other")
        return self

    @property
    def norm(self) -> int:
        """A scale, and a shift where norm_bias is set."""
        return self.hidden_size * (2 if self.norm_bias else 1)

    @cached_property
    def heads(self) -> int:
        """As many as head_dim leaves, num_heads where it is null; raises ValueError where they do not fit the width."""
        size = self.num_heads if self.head_dim is None else self.head_dim
        if size is None:
            raise ValueError("head_dim: required if num_heads is not given, found none")
        divides(size, "num_heads" if self.head_dim is None else "head_dim", self.hidden_size, "hidden_size")
        return size if self.head_dim is None else self.hidden_size // size

    def mixer(self, index: int, kind: str) -> Mixer:
        """Time mixing."""
        ranks = Ranks(
            decay=self.decay_low_rank_dim or self.rank(2.5 * self.hidden_size / self.heads / 64),
            rate=self.a_low_rank_dim or self.rank(2.5 * self.hidden_size / self.heads / 64),
            value=(self.v_low_rank_dim or self.rank(1.7 * self.hidden_size / self.heads / 64)) if index else None,
            gate=self.gate_low_rank_dim or self.rank(5),
        )
        return rwkv7(self.hidden_size, self.heads, ranks)

    def rank(self, factor: float) -> int:
        """The rank that follows from the width: `factor` times its root, in 32s."""
        return max(32, round(factor * self.hidden_size**0.5 / 32) * 32)

    def feed(self, index: int, kind: str) -> Weights:
        """Channel mixing, whose last input is part of the state too."""
        width = self.hidden_size
        hidden = self.intermediate_size or -(-int(width * (self.hidden_ratio or 4)) // 32) * 32
        first = self.norm if index == 0 and self.norm_first else 0
        return Weights.dense(linear(width, hidden) + linear(hidden, width) + width + first)


class Mamba2(Fla):
    """fla's Mamba2ForCausalLM: as many heads as head_dim leaves, one group unless n_groups is given, no MLP."""

    norms: ClassVar[int] = 1
    known: ClassVar[tuple[str, ...]] = (LINEAR,)

    num_hidden_layers: Depth = 48
    head_dim: Size = 64
    num_heads: Size | None = None
    state_size: Size = 128
    expand: Ratio = 2
    n_groups: Size = 1
    conv_kernel: Taps = 4
    use_bias: bool = False
    use_conv_bias: bool = True
    rmsnorm: bool = True
    D_has_hdim: bool = False

    @property
    def d_state(self) -> int | None:
        """state_size."""
        return self.state_size

    def with_d_state(self, size: int) -> Self:
        """With another state_size."""
        return self.model_copy(update={"state_size": size})

    @cached_property
    def heads(self) -> int:
        """Heads; raises ValueError where num_heads says otherwise."""
        inner = int(self.expand * self.hidden_size)
        divides(self.head_dim, "head_dim", inner, "expand x hidden_size")
        heads = inner // self.head_dim
        if self.num_heads not in (None, heads):
            raise ValueError(f"num_heads ({self.num_heads}) must be expand x hidden_size / head_dim ({heads})")
        divides(self.n_groups, "n_groups", heads, "num_heads")
        return heads

    def mixer(self, index: int, kind: str) -> Mixer:
        """Mamba-2."""
        space = StateSpace(
            self.heads,
            self.head_dim,
            self.n_groups,
            self.state_size,
            self.conv_kernel,
            bias=self.use_bias,
            out_bias=self.use_bias,
            conv_bias=self.use_conv_bias,
            normed=self.rmsnorm,
        ).mixer(self.hidden_size)
        return replace(space, weights=space.weights + (self.head_dim - 1) * self.heads) if self.D_has_hdim else space

    def feed(self, index: int, kind: str) -> Weights:
        """None."""
        return Weights.dense(0)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Whose config it is."""
        return (
            "Read as flash-linear-attention's mamba2, by its keys: one group, unless n_groups is given, and "
            f"expand x hidden_size / head_dim = {self.heads} heads (transformers' mamba2 has other defaults).",
        )
