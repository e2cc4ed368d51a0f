"""Published hybrids of attention and Mamba-2, in turns or side by side."""

from dataclasses import replace
from functools import cached_property
from typing import Annotated, ClassVar, Self

from pydantic import AliasChoices, Field, model_validator

from l2m_design.architecture.readers.attention import Biased, Grouped
from l2m_design.architecture.readers.config import (
    FULL,
    LINEAR,
    Auto,
    Depth,
    Dtype,
    Indices,
    Size,
    Taps,
    Words,
    divides,
)
from l2m_design.architecture.readers.experts import Sparse
from l2m_design.architecture.readers.mixers import NOTHING, Attention, Mixer, StateSpace, Weights, linear

HYBRID, MOE, MLP = "hybrid", "moe", "mlp"
BLOCK_TYPES = AliasChoices("layers_block_type", "layer_types")


class Mamba2Hybrid(Biased):
    """What Bamba, Granite and Falcon-H1 share: Mamba-2 by mamba_n_heads, attention_bias and mamba_proj_bias."""

    known: ClassVar[tuple[str, ...]] = (FULL, LINEAR)

    mamba_n_heads: Size
    mamba_d_head: Auto = None
    mamba_n_groups: Size
    mamba_d_state: Size
    mamba_d_conv: Taps
    mamba_expand: Size
    mamba_conv_bias: bool
    mamba_proj_bias: bool

    @property
    def inner(self) -> int:
        """Channels of the state space."""
        return self.mamba_expand * self.hidden_size

    @property
    def space(self) -> StateSpace:
        """The Mamba-2 of a layer; raises ValueError where its heads do not share its channels."""
        divides(self.mamba_n_heads, "mamba_n_heads", self.inner, "the channels of the state space")
        divides(self.mamba_n_groups, "mamba_n_groups", self.mamba_n_heads, "mamba_n_heads")
        head_dim = self.mamba_d_head or self.inner // self.mamba_n_heads
        if head_dim * self.mamba_n_heads != self.inner:
            raise ValueError(f"mamba_d_head ({head_dim}) x mamba_n_heads ({self.mamba_n_heads}) must be {self.inner}")
        return StateSpace(
            self.mamba_n_heads,
            head_dim,
            self.mamba_n_groups,
            self.mamba_d_state,
            self.mamba_d_conv,
            bias=self.mamba_proj_bias,
            out_bias=self.mamba_proj_bias,
            conv_bias=self.mamba_conv_bias,
        )

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention or Mamba-2."""
        return super().mixer(index, kind) if kind == FULL else self.space.mixer(self.hidden_size)


class Bamba(Mamba2Hybrid):
    """BambaForCausalLM: attention in attn_layer_indices."""

    attn_layer_indices: Indices | None = None
    mlp_bias: bool

    def kind(self, index: int) -> str:
        """Attention where attn_layer_indices says so."""
        return FULL if index in (self.attn_layer_indices or ()) else LINEAR

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP, with biases or without."""
        return Weights.gated(self.hidden_size, self.intermediate_size, self.mlp_bias)


class GraniteMoeHybrid(Mamba2Hybrid, Sparse):
    """GraniteMoeHybridForCausalLM: routed experts, where there are any, beside a shared MLP."""

    layer_types: Words | None = Field(default=None, validation_alias=AliasChoices("layer_types", "layers_block_type"))
    shared_intermediate_size: Size

    def kind(self, index: int) -> str:
        """Mamba-2 everywhere."""
        return LINEAR

    def feed(self, index: int, kind: str) -> Weights:
        """Experts and the shared MLP."""
        shared = Weights.gated(self.hidden_size, self.shared_intermediate_size)
        return shared + self.experts(self.intermediate_size) if self.num_experts else shared


class FalconH1(Mamba2Hybrid):
    """FalconH1ForCausalLM: attention and Mamba-2 in parallel in every layer."""

    known: ClassVar[tuple[str, ...]] = (HYBRID,)

    mamba_d_ssm: Size | None
    mamba_rms_norm: bool
    projectors_bias: bool
    mlp_bias: bool

    @property
    def inner(self) -> int:
        """mamba_d_ssm, or expand times the width."""
        return self.mamba_d_ssm or super().inner

    @property
    def space(self) -> StateSpace:
        """With an output bias of its own, and a norm only if the config says so."""
        return replace(super().space, out_bias=self.projectors_bias, normed=self.mamba_rms_norm)

    def kind(self, index: int) -> str:
        """Both."""
        return HYBRID

    def mixer(self, index: int, kind: str) -> Mixer:
        """Both."""
        return super().mixer(index, FULL).beside(self.space.mixer(self.hidden_size))

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP, with biases or without."""
        return Weights.gated(self.hidden_size, self.intermediate_size, self.mlp_bias)


class NemotronH(Grouped, Sparse):
    """NemotronHForCausalLM: a layer is a mixer, an MLP or experts, after one norm; the last two keep nothing.

    The pattern counts, num_hidden_layers does not; vLLM holds the memory in mamba_ssm_cache_dtype.
    """

    norms: ClassVar[int] = 1
    known: ClassVar[tuple[str, ...]] = (FULL, LINEAR, MOE, MLP)
    own: ClassVar[tuple[str, ...]] = ("hidden_size", "layer_types", "hybrid_override_pattern")

    num_hidden_layers: Depth = 4
    layer_types: Words | None = Field(default=None, validation_alias=BLOCK_TYPES)
    hybrid_override_pattern: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[ME*-]+$")] | None = None
    mlp_bias: bool
    ssm_state_size: Size
    mamba_num_heads: Size
    mamba_head_dim: Size
    n_groups: Size = Field(validation_alias=AliasChoices("mamba_n_groups", "n_groups"))
    conv_kernel: Taps = Field(validation_alias=AliasChoices("mamba_d_conv", "conv_kernel"))
    use_conv_bias: bool = Field(validation_alias=AliasChoices("mamba_conv_bias", "use_conv_bias"))
    use_bias: bool
    mamba_ssm_cache_dtype: Dtype
    moe_intermediate_size: Size
    moe_shared_expert_intermediate_size: Size
    moe_latent_size: Size | None = None

    @property
    def depth(self) -> int:
        """Entries of the pattern."""
        return len(self.kinds)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """By layers_block_type, else by the letters of hybrid_override_pattern."""
        if self.layer_types is not None:
            return super().kinds
        if self.hybrid_override_pattern is None:
            return LINEAR, MOE, FULL, MLP
        return tuple({"M": LINEAR, "E": MOE, "*": FULL, "-": MLP}[letter] for letter in self.hybrid_override_pattern)

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention, Mamba-2, or none."""
        if kind == FULL:
            return super().mixer(index, kind)
        if kind != LINEAR:
            return NOTHING
        divides(self.n_groups, "n_groups", self.mamba_num_heads, "mamba_num_heads")
        return StateSpace(
            self.mamba_num_heads,
            self.mamba_head_dim,
            self.n_groups,
            self.ssm_state_size,
            self.conv_kernel,
            bias=self.use_bias,
            out_bias=self.use_bias,
            conv_bias=self.use_conv_bias,
            vllm=self.mamba_ssm_cache_dtype,
        ).mixer(self.hidden_size)

    def feed(self, index: int, kind: str) -> Weights:
        """An MLP or experts of up and down, these in a latent space if there is one; none beside a mixer."""
        if kind == MLP:
            return Weights.plain(self.hidden_size, self.intermediate_size, self.mlp_bias)
        if kind != MOE:
            return Weights.dense(0)
        inside = self.moe_latent_size or self.hidden_size
        routed = Weights.plain(inside, self.moe_intermediate_size, bias=False)
        shared = Weights.plain(self.hidden_size, self.moe_shared_expert_intermediate_size, self.mlp_bias)
        around = Weights.plain(self.hidden_size, self.moe_latent_size, self.mlp_bias) if self.moe_latent_size else None
        whole = routed.experts(self.num_experts, self.chosen, self.num_experts * self.hidden_size) + shared
        return whole + around if around else whole


class Zamba2(Grouped):
    """Zamba2ForCausalLM: Mamba-2 in every layer; in hybrid ones a transformer block before it, reading the embeddings
    beside the stream. num_mem_blocks such blocks take turns: weights are shared (adapters apart), caches are not.
    """

    known: ClassVar[tuple[str, ...]] = (LINEAR, HYBRID)
    norms: ClassVar[int] = 1

    intermediate_size: Size | None = None  # type: ignore[assignment]
    layer_types: Words | None = Field(default=None, validation_alias=BLOCK_TYPES)
    mamba_d_state: Size
    mamba_d_conv: Taps
    mamba_expand: Size
    mamba_ngroups: Size
    n_mamba_heads: Size
    add_bias_linear: bool
    num_mem_blocks: Size
    use_shared_attention_adapter: bool
    adapter_rank: Size

    @model_validator(mode="after")
    def _pattern_is_given(self) -> Self:
        if self.layer_types is None and self.num_hidden_layers != 54:
            raise ValueError(
                f"layers_block_type: required unless there are 54 layers, found none for {self.num_hidden_layers}"
            )
        return self

    @property
    def size_of_head(self) -> int:
        """Heads share twice the width."""
        return 2 * self.hidden_size // self.num_attention_heads

    @property
    def hidden(self) -> int:
        """Channels of the MLP: four times the width by default."""
        return self.intermediate_size or 4 * self.hidden_size

    def kind(self, index: int) -> str:
        """As in Zamba2-2.7B: the positions of its nine hybrid layers."""
        return HYBRID if index in (6, 12, 18, 24, 30, 36, 42, 47, 51) else LINEAR

    def mixer(self, index: int, kind: str) -> Mixer:
        """Mamba-2, and attention before it in hybrid layers."""
        inner = self.mamba_expand * self.hidden_size
        divides(self.n_mamba_heads, "n_mamba_heads", inner, "mamba_expand x hidden_size")
        divides(self.mamba_ngroups, "mamba_ngroups", self.n_mamba_heads, "n_mamba_heads")
        space = StateSpace(
            self.n_mamba_heads,
            inner // self.n_mamba_heads,
            self.mamba_ngroups,
            self.mamba_d_state,
            self.mamba_d_conv,
            bias=self.add_bias_linear,
            out_bias=self.add_bias_linear,
        ).mixer(self.hidden_size)
        return space if kind == LINEAR else self._heads(index).beside(space)

    def _heads(self, index: int) -> Mixer:
        """Attention with its weights where they are met first, an adapter for each further use."""
        heads = Attention(
            self.num_attention_heads, self.kv_heads, self.size_of_head, inputs=2 * self.hidden_size
        ).mixer(self.hidden_size)
        adapters = 3 * 2 * linear(2 * self.hidden_size, self.adapter_rank) if self.use_shared_attention_adapter else 0
        return heads.with_more(adapters - (0 if self._first(index) else heads.weights))

    def _first(self, index: int) -> bool:
        """Is this hybrid layer the first that its block of weights serves?"""
        return self.kinds[:index].count(HYBRID) < self.num_mem_blocks

    def feed(self, index: int, kind: str) -> Weights:
        """Of hybrid layers: the linear map behind the block, its MLP with an adapter, its norms."""
        if kind == LINEAR:
            return Weights.dense(0)
        width, bias = self.hidden_size, self.add_bias_linear
        own = linear(width, width) + linear(width, self.adapter_rank) + linear(self.adapter_rank, 2 * self.hidden)
        shared = linear(width, 2 * self.hidden, bias) + linear(self.hidden, width, bias) + 3 * width
        return Weights.dense(own + (shared if self._first(index) else 0))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is shared."""
        return (
            f"Its {self.kinds.count(HYBRID)} hybrid layers use {self.num_mem_blocks} sets of weights in turn, "
            "counted once; each stores its own keys and values.",
        )
