"""Published hybrids of attention with delta rules, Mamba-1 or short convolutions."""

from typing import Annotated, ClassVar

from pydantic import AliasChoices, Field

from l2m_design.architecture.readers.attention import Biased, Grouped
from l2m_design.architecture.readers.config import FULL, LINEAR, Auto, Count, Dtype, Indices, Size, Taps, Words, divides
from l2m_design.architecture.readers.experts import ExpertSteps, SharedExpert, Sparse
from l2m_design.architecture.readers.mixers import GatedDelta, Mamba1, Mixer, Weights, short_convolution

CONV = "conv"


class Delta(Biased):
    """Gated DeltaNet in most layers, gated attention with norms every fourth."""

    known: ClassVar[tuple[str, ...]] = (FULL, LINEAR)
    qk_norm: ClassVar[bool] = True
    gated: ClassVar[bool] = True

    full_attention_interval: Size = 4
    linear_conv_kernel_dim: Taps
    linear_key_head_dim: Size
    linear_value_head_dim: Size
    linear_num_key_heads: Size
    linear_num_value_heads: Size
    mamba_ssm_dtype: Dtype | None = None

    def kind(self, index: int) -> str:
        """Full attention every full_attention_interval layers."""
        return LINEAR if (index + 1) % self.full_attention_interval else FULL

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention or a gated DeltaNet; vLLM holds its memory in mamba_ssm_dtype, where that is given."""
        if kind == FULL:
            return super().mixer(index, kind)
        divides(
            self.linear_num_key_heads, "linear_num_key_heads", self.linear_num_value_heads, "linear_num_value_heads"
        )
        return GatedDelta(
            self.linear_num_key_heads,
            self.linear_num_value_heads,
            self.linear_key_head_dim,
            self.linear_value_head_dim,
            self.linear_conv_kernel_dim,
            self.mamba_ssm_dtype,
        ).mixer(self.hidden_size)


class Qwen3Next(ExpertSteps, SharedExpert, Delta):
    """Qwen3NextForCausalLM."""


class Qwen35Moe(SharedExpert, Delta):
    """Qwen3_5MoeForCausalLM: experts in every layer."""

    intermediate_size: Size | None = None  # type: ignore[assignment]


class Qwen35(Delta):
    """Qwen3_5ForCausalLM."""


class Jamba(Grouped, Sparse):
    """JambaForCausalLM: Mamba-1 with normed dt, B and C, attention now and then, experts in every other layer."""

    known: ClassVar[tuple[str, ...]] = (FULL, LINEAR)

    expert_layer_period: Size
    expert_layer_offset: Count
    attn_layer_period: Size
    attn_layer_offset: Count
    mamba_d_state: Size
    mamba_d_conv: Taps
    mamba_expand: Size
    mamba_dt_rank: Auto = None
    mamba_conv_bias: bool
    mamba_proj_bias: bool

    def kind(self, index: int) -> str:
        """Attention at attn_layer_offset of each attn_layer_period."""
        return FULL if index % self.attn_layer_period == self.attn_layer_offset else LINEAR

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention or Mamba-1."""
        if kind == FULL:
            return super().mixer(index, kind)
        return Mamba1(
            self.mamba_expand * self.hidden_size,
            self.mamba_d_state,
            self.mamba_d_conv,
            self.mamba_dt_rank or -(-self.hidden_size // 16),
            bias=self.mamba_proj_bias,
            conv_bias=self.mamba_conv_bias,
            normed=True,
        ).mixer(self.hidden_size)

    def feed(self, index: int, kind: str) -> Weights:
        """Experts at expert_layer_offset of each expert_layer_period, if there are several."""
        has_experts = index % self.expert_layer_period == self.expert_layer_offset and self.num_experts > 1
        return self.experts(self.intermediate_size) if has_experts else super().feed(index, kind)


class ShortConvolutions(Grouped):
    """What LFM2 and its sparse form share: gated short convolutions, attention with norms in some layers."""

    known: ClassVar[tuple[str, ...]] = (FULL, CONV)
    qk_norm: ClassVar[bool] = True

    tie_word_embeddings: bool = Field(validation_alias=AliasChoices("tie_embedding", "tie_word_embeddings"))
    conv_bias: bool
    conv_taps: Taps = Field(validation_alias="conv_L_cache")

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention or a short convolution."""
        if kind == FULL:
            return super().mixer(index, kind)
        return short_convolution(self.hidden_size, self.conv_taps, self.conv_bias)


class Lfm2(ShortConvolutions):
    """Lfm2ForCausalLM."""

    intermediate_size: Size = Field(validation_alias=AliasChoices("block_ff_dim", "intermediate_size"))
    block_multiple_of: Size
    block_ffn_dim_multiplier: Annotated[float, Field(gt=0, le=1e6)] | None
    block_auto_adjust_ff_dim: bool
    full_attn_idxs: Indices | None = None

    def kind(self, index: int) -> str:
        """Attention in full_attn_idxs, everywhere where they are not given."""
        return FULL if self.full_attn_idxs is None or index in self.full_attn_idxs else CONV

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP, two thirds as wide where it adjusts itself, rounded up to block_multiple_of."""
        hidden = self.intermediate_size
        if self.block_auto_adjust_ff_dim:
            hidden = int((self.block_ffn_dim_multiplier or 1) * int(2 * hidden / 3))
            hidden = -(-hidden // self.block_multiple_of) * self.block_multiple_of
        return Weights.gated(self.hidden_size, hidden)


class Lfm2Moe(ShortConvolutions, Sparse):
    """Lfm2MoeForCausalLM: MLPs in the first num_dense_layers, then experts."""

    layer_types: Words
    moe_intermediate_size: Size
    num_dense_layers: Count

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP, or experts."""
        if index < self.num_dense_layers:
            return super().feed(index, kind)
        return self.experts(self.moe_intermediate_size)
