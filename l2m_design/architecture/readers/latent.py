"""Published decoders of multi-head latent attention: DeepSeek-V2 and V3, and Kimi Linear, which mixes it with KDA."""

from typing import ClassVar, Self

from pydantic import AliasChoices, Field, model_validator

from l2m_design.architecture.readers.config import (
    FULL,
    LINEAR,
    PREDICTED,
    Block,
    Count,
    Depth,
    Indices,
    Lenient,
    Size,
    Words,
)
from l2m_design.architecture.readers.experts import FirstDense
from l2m_design.architecture.readers.mixers import LatentAttention, Mixer, Weights, kimi_delta
from l2m_design.settings import Json


class Latent(FirstDense):
    """Latent attention in every layer; dense MLPs first, then routed experts beside shared ones."""

    num_experts_per_tok: Count | None = None  # type: ignore[assignment]
    num_hidden_layers: Depth
    num_attention_heads: Size
    kv_lora_rank: Size
    q_lora_rank: Size | None = None
    qk_rope_head_dim: Size
    qk_nope_head_dim: Size
    v_head_dim: Size
    attention_bias: bool

    @property
    def depth(self) -> int:
        """num_hidden_layers."""
        return self.num_hidden_layers

    @model_validator(mode="after")
    def _experts_fit(self) -> Self:
        if self.num_experts_per_tok is None and any(self.has_experts(index) for index in range(self.depth)):
            raise ValueError("num_experts_per_tok: required by layers with experts, found none")
        return self

    def mixer(self, index: int, kind: str) -> Mixer:
        """Latent attention."""
        return LatentAttention(
            self.num_attention_heads,
            self.q_lora_rank,
            self.kv_lora_rank,
            self.qk_rope_head_dim,
            self.qk_nope_head_dim,
            self.v_head_dim,
            self.attention_bias,
        ).mixer(self.hidden_size)


class DeepseekV2(Latent):
    """DeepseekV2ForCausalLM."""

    mlp_bias: bool

    def dense(self, hidden: int) -> Weights:
        """A gated MLP, with biases or without."""
        return Weights.gated(self.hidden_size, hidden, self.mlp_bias)


class DeepseekV3(Latent):
    """DeepseekV3ForCausalLM."""

    num_nextn_predict_layers: Count | None = Field(default=1, validation_alias=PREDICTED)


class Listed(Latent):
    """Glm4MoeLiteForCausalLM: mlp_layer_types says which layers have experts."""

    first_k_dense_replace: Count = 1
    mlp_layer_types: Words | None = None

    @model_validator(mode="after")
    def _types_fit(self) -> Self:
        if self.mlp_layer_types is not None and len(self.mlp_layer_types) != self.depth:
            raise ValueError(
                f"mlp_layer_types: must have {self.depth} entries, one per layer, found {len(self.mlp_layer_types)}"
            )
        return self

    def has_experts(self, index: int) -> bool:
        """By mlp_layer_types, else after the first layers."""
        if self.mlp_layer_types is None:
            return super().has_experts(index)
        return self.mlp_layer_types[index : index + 1] == ["sparse"]


class KimiDelta(Lenient):
    """linear_attn_config of a published Kimi Linear: layers are numbered from 1."""

    full_attn_layers: Indices | None = None
    kda_layers: Indices | None = None
    head_dim: Size | None = None
    num_heads: Size | None = None
    short_conv_kernel_size: Size | None = None


class KimiLinear(Listed):
    """KimiLinearForCausalLM: KDA in most layers, latent attention in the others."""

    known: ClassVar[tuple[str, ...]] = (FULL, LINEAR)

    num_experts_per_tok: Count | None = Field(  # type: ignore[assignment]
        default=None, validation_alias=AliasChoices("num_experts_per_token", "num_experts_per_tok")
    )
    n_shared_experts: Count = Field(default=1, validation_alias=AliasChoices("num_shared_experts", "n_shared_experts"))
    linear_head_dim: Size
    linear_num_heads: Size
    linear_conv_kernel_dim: Size
    linear_attn_config: KimiDelta = KimiDelta()

    @model_validator(mode="after")
    def _lists_fit(self) -> Self:
        full, delta = self.linear_attn_config.full_attn_layers, self.linear_attn_config.kda_layers
        if full is not None and delta is not None and sorted(full + delta) != list(range(1, self.depth + 1)):
            raise ValueError(
                "linear_attn_config: full_attn_layers and kda_layers must name each layer once, "
                f"1 to {self.depth}, found {len(full)} and {len(delta)}"
            )
        return self

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The layers; raises ValueError where the file says nothing of KDA, so that it may be of another type."""
        keys = {"linear_attn_config", "layer_types", "linear_head_dim", "linear_num_heads", "linear_conv_kernel_dim"}
        if keys.isdisjoint(self.model_fields_set):
            raise ValueError(
                "linear_attn_config: required for model_type kimi_linear, since it lists the layers of KDA; check the "
                "model_type (a model without KDA may be kimi_k2)"
            )
        return super().blocks

    @property
    def assumed(self) -> Json:
        """Without those sizes of KDA that linear_attn_config gives."""
        given = self.linear_attn_config
        stated = {
            "linear_head_dim": given.head_dim,
            "linear_num_heads": given.num_heads,
            "linear_conv_kernel_dim": given.short_conv_kernel_size,
        }
        return {name: value for name, value in super().assumed.items() if stated.get(name) is None}

    def kind(self, index: int) -> str:
        """As linear_attn_config lists them, else full attention every fourth layer but the first."""
        full, delta = self.linear_attn_config.full_attn_layers, self.linear_attn_config.kda_layers
        if full is not None and delta is not None:
            return FULL if index + 1 in full else LINEAR
        return FULL if index and index % 4 == 0 else LINEAR

    def mixer(self, index: int, kind: str) -> Mixer:
        """Latent attention or KDA."""
        if kind == FULL:
            return super().mixer(index, kind)
        given = self.linear_attn_config
        return kimi_delta(
            self.hidden_size,
            given.num_heads or self.linear_num_heads,
            given.head_dim or self.linear_head_dim,
            given.short_conv_kernel_size or self.linear_conv_kernel_dim,
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Where the class alone says which layers are KDA."""
        given = self.linear_attn_config
        if self.layer_types is not None or given.full_attn_layers is not None:
            return ()
        return ("The file does not say which layers are KDA; assumed, like its class: all but every fourth.",)
