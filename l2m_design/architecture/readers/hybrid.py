"""Published hybrids of attention with delta rules, Mamba-1 or short convolutions."""

from typing import Annotated, ClassVar

from pydantic import AliasChoices, Field

from l2m_design.architecture.readers.attention import Biased, Grouped
from l2m_design.architecture.readers.config import FULL, LINEAR, Auto, Count, Depth, Dtype, Indices, Size, Taps, divides
from l2m_design.architecture.readers.experts import EXPERTS, ExpertSteps, Sparse
from l2m_design.architecture.readers.mixers import Mixer, Weights, gated_delta, mamba1, short_convolution

CONV = "conv"


class Delta(Biased):
    """Gated DeltaNet in most layers, gated attention with norms every fourth."""

    known: ClassVar[tuple[str, ...]] = (FULL, LINEAR)
    qk_norm: ClassVar[bool] = True
    gated: ClassVar[bool] = True

    num_attention_heads: Size = 16
    head_dim: Size | None = 256
    tie_word_embeddings: bool = False
    full_attention_interval: Size = 4
    linear_conv_kernel_dim: Taps = 4
    linear_key_head_dim: Size = 128
    linear_value_head_dim: Size = 128
    linear_num_key_heads: Size = 16
    linear_num_value_heads: Size = 32
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
        return gated_delta(
            self.hidden_size,
            self.linear_num_key_heads,
            self.linear_num_value_heads,
            self.linear_key_head_dim,
            self.linear_value_head_dim,
            self.linear_conv_kernel_dim,
            self.mamba_ssm_dtype,
        )


class Qwen3Next(Delta, ExpertSteps):
    """Qwen3NextForCausalLM: routed experts and a gated shared one."""

    vocab_size: Size = 151936
    hidden_size: Size = 2048
    intermediate_size: Size = 5632
    num_hidden_layers: Depth = 48
    num_key_value_heads: Size | None = 2
    moe_intermediate_size: Size = 512
    shared_expert_intermediate_size: Size = 512
    num_experts: Count = Field(default=512, validation_alias=EXPERTS)
    num_experts_per_tok: Count = 10

    def feed(self, index: int, kind: str) -> Weights:
        """Experts, or a gated MLP."""
        if not self.has_experts(index):
            return Weights.gated(self.hidden_size, self.intermediate_size)
        shared = Weights.gated(self.hidden_size, self.shared_expert_intermediate_size)
        return self.experts(self.moe_intermediate_size) + shared + Weights.dense(self.hidden_size)


class Qwen35(Delta):
    """Qwen3_5ForCausalLM."""

    vocab_size: Size = 248320
    hidden_size: Size = 4096
    intermediate_size: Size = 12288
    num_hidden_layers: Depth = 32
    num_key_value_heads: Size | None = 4


class Jamba(Grouped, Sparse):
    """JambaForCausalLM: Mamba-1 with normed dt, B and C, attention now and then, experts in every other layer."""

    known: ClassVar[tuple[str, ...]] = (FULL, LINEAR)

    vocab_size: Size = 65536
    hidden_size: Size = 4096
    intermediate_size: Size = 14336
    num_hidden_layers: Depth = 32
    num_attention_heads: Size = 32
    num_key_value_heads: Size | None = 8
    tie_word_embeddings: bool = False
    num_experts: Count = Field(default=16, validation_alias=EXPERTS)
    num_experts_per_tok: Count = 2
    expert_layer_period: Size = 2
    expert_layer_offset: Count = 1
    attn_layer_period: Size = 8
    attn_layer_offset: Count = 4
    mamba_d_state: Size = 16
    mamba_d_conv: Taps = 4
    mamba_expand: Size = 2
    mamba_dt_rank: Auto = None
    mamba_conv_bias: bool = True
    mamba_proj_bias: bool = False

    def kind(self, index: int) -> str:
        """Attention at attn_layer_offset of each attn_layer_period."""
        return FULL if index % self.attn_layer_period == self.attn_layer_offset else LINEAR

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention or Mamba-1."""
        if kind == FULL:
            return super().mixer(index, kind)
        return mamba1(
            self.hidden_size,
            self.mamba_expand * self.hidden_size,
            self.mamba_d_state,
            self.mamba_d_conv,
            self.mamba_dt_rank or -(-self.hidden_size // 16),
            bias=self.mamba_proj_bias,
            conv_bias=self.mamba_conv_bias,
            normed=True,
        )

    def feed(self, index: int, kind: str) -> Weights:
        """Experts at expert_layer_offset of each expert_layer_period, if there are several."""
        has_experts = index % self.expert_layer_period == self.expert_layer_offset and self.num_experts > 1
        return self.experts(self.intermediate_size) if has_experts else super().feed(index, kind)


class Lfm2(Grouped):
    """Lfm2ForCausalLM: gated short convolutions, attention with norms in some layers."""

    known: ClassVar[tuple[str, ...]] = (FULL, CONV)
    qk_norm: ClassVar[bool] = True

    vocab_size: Size = 65536
    hidden_size: Size = 2560
    intermediate_size: Size = Field(default=12288, validation_alias=AliasChoices("block_ff_dim", "intermediate_size"))
    num_hidden_layers: Depth = 32
    num_attention_heads: Size = 32
    num_key_value_heads: Size | None = 8
    tie_word_embeddings: bool = Field(
        default=True, validation_alias=AliasChoices("tie_embedding", "tie_word_embeddings")
    )
    conv_bias: bool = False
    conv_taps: Taps = Field(default=3, validation_alias="conv_L_cache")
    block_multiple_of: Size = 256
    block_ffn_dim_multiplier: Annotated[float, Field(gt=0, le=1e6)] | None = 1.0
    block_auto_adjust_ff_dim: bool = True
    full_attn_idxs: Indices | None = None

    def kind(self, index: int) -> str:
        """Attention in full_attn_idxs, everywhere where they are not given."""
        return FULL if self.full_attn_idxs is None or index in self.full_attn_idxs else CONV

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention or a short convolution."""
        if kind == FULL:
            return super().mixer(index, kind)
        return short_convolution(self.hidden_size, self.conv_taps, self.conv_bias)

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP, two thirds as wide where it adjusts itself, rounded up to block_multiple_of."""
        hidden = self.intermediate_size
        if self.block_auto_adjust_ff_dim:
            hidden = int((self.block_ffn_dim_multiplier or 1) * int(2 * hidden / 3))
            hidden = -(-hidden // self.block_multiple_of) * self.block_multiple_of
        return Weights.gated(self.hidden_size, hidden)
