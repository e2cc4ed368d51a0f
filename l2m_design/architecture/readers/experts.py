"""Published decoders of attention whose MLPs are experts, of which a token passes a few."""

from functools import cached_property
from typing import Annotated, ClassVar, Self

from pydantic import AliasChoices, Field, model_validator

from l2m_design.architecture.readers.attention import (
    Biased,
    Grouped,
    InBiased,
    Normed,
    NormedWhole,
    Qwen2,
    Qwen3,
    turns,
)
from l2m_design.architecture.readers.config import DEPTH, FULL, SLIDING, Config, Count, Indices, Size
from l2m_design.architecture.readers.dense import Ernie, Olmo2
from l2m_design.architecture.readers.mixers import Mixer, Weights, linear

EXPERTS = AliasChoices("num_experts", "num_local_experts", "n_routed_experts")


class Sparse(Config):
    """What decoders with experts share: how many there are, how many a token passes, and how large they are."""

    num_experts: Count = Field(validation_alias=EXPERTS)
    num_experts_per_tok: Count

    @property
    def chosen(self) -> int:
        """Experts that a token passes."""
        return self.num_experts_per_tok or 0

    def has_experts(self, index: int) -> bool:
        """Does this layer have them?"""
        return True

    def experts(self, hidden: int, router: int | None = None) -> Weights:
        """The routed experts of a layer with `hidden` channels each, and their router (without bias by default)."""
        size = self.num_experts * self.hidden_size if router is None else router
        return Weights.gated(self.hidden_size, hidden).experts(self.num_experts, self.chosen, size)


class SharedExpert(Sparse, Grouped):
    """Routed experts and a gated shared one."""

    moe_intermediate_size: Size
    shared_expert_intermediate_size: Size

    def feed(self, index: int, kind: str) -> Weights:
        """Experts, or a gated MLP."""
        if not self.has_experts(index):
            return super().feed(index, kind)
        shared = Weights.gated(self.hidden_size, self.shared_expert_intermediate_size)
        return self.experts(self.moe_intermediate_size) + shared + Weights.dense(self.hidden_size)


class ExpertSteps(Sparse):
    """Which layers of the Qwen family have experts: every decoder_sparse_step-th one that mlp_only_layers spares."""

    decoder_sparse_step: Size
    moe_intermediate_size: Size
    mlp_only_layers: Indices | None = None

    def has_experts(self, index: int) -> bool:
        """Does this layer have them?"""
        spared = index in (self.mlp_only_layers or ())
        return self.num_experts > 0 and not spared and (index + 1) % self.decoder_sparse_step == 0


class Mixtral(Grouped, Sparse):
    """MixtralForCausalLM: experts in every layer."""

    def feed(self, index: int, kind: str) -> Weights:
        """Experts."""
        return self.experts(self.intermediate_size)


class Qwen3Moe(Qwen3, ExpertSteps):
    """Qwen3MoeForCausalLM: one window everywhere or none."""

    def kind(self, index: int) -> str:
        """Windows in all layers, where they are used."""
        return FULL if self.window is None else SLIDING

    def feed(self, index: int, kind: str) -> Weights:
        """Experts, or a gated MLP."""
        if not self.has_experts(index):
            return Weights.gated(self.hidden_size, self.intermediate_size)
        return self.experts(self.moe_intermediate_size)


class Qwen2Moe(ExpertSteps, SharedExpert, Qwen2):
    """Qwen2MoeForCausalLM: windows in every other layer below max_window_layers, if they are used."""

    sliding_window: Count | None
    qkv_bias: bool

    @property
    def window(self) -> int | None:
        """sliding_window where use_sliding_window is set; 0, which its class saves, stands for none."""
        return super().window or None

    @property
    def biases(self) -> tuple[bool, bool]:
        """On queries, keys and values, if qkv_bias is set."""
        return self.qkv_bias, False

    def kind(self, index: int) -> str:
        """A window in the first of every two layers, where windows are used."""
        return turns(index, 2) if self.window is not None and index < self.max_window_layers else FULL


class Qwen3VlMoe(ExpertSteps, Normed):
    """Qwen3VLMoeTextModel: no windows."""

    known: ClassVar[tuple[str, ...]] = (FULL,)

    @property
    def window(self) -> None:
        """None: its class drops sliding_window."""
        return

    def feed(self, index: int, kind: str) -> Weights:
        """Experts, or a gated MLP."""
        return self.experts(self.moe_intermediate_size) if self.has_experts(index) else super().feed(index, kind)


class GraniteMoe(Biased, Mixtral):
    """GraniteMoeForCausalLM and GraniteMoeSharedForCausalLM: the latter has an MLP beside the experts."""

    shared_intermediate_size: Count | None = None

    def feed(self, index: int, kind: str) -> Weights:
        """Experts, and a shared MLP."""
        return super().feed(index, kind) + Weights.gated(self.hidden_size, self.shared_intermediate_size or 0)


class Olmoe(Olmo2, Mixtral):
    """OlmoeForCausalLM."""


class MiniMaxM2(NormedWhole, Mixtral):
    """MiniMaxM2ForCausalLM."""


class FirstDense(Sparse):
    """Dense MLPs first, then routed experts beside shared ones."""

    intermediate_size: Size
    moe_intermediate_size: Size
    n_shared_experts: Count
    first_k_dense_replace: Count

    def has_experts(self, index: int) -> bool:
        """Does this layer have them?"""
        return index >= self.first_k_dense_replace

    def dense(self, hidden: int) -> Weights:
        """A gated MLP."""
        return Weights.gated(self.hidden_size, hidden)

    def feed(self, index: int, kind: str) -> Weights:
        """An MLP in the first layers, then experts."""
        if not self.has_experts(index):
            return self.dense(self.intermediate_size)
        return self.experts(self.moe_intermediate_size) + self.dense(self.moe_intermediate_size * self.n_shared_experts)


class Glm4Moe(FirstDense, InBiased):
    """Glm4MoeForCausalLM: norms of heads where use_qk_norm is set."""

    use_qk_norm: bool = False

    @property
    def norms_of_heads(self) -> int:
        """A scale for each channel of a head."""
        return 2 * self.size_of_head if self.use_qk_norm else 0


class Dots1(FirstDense, Normed):
    """Dots1ForCausalLM: windows from max_window_layers on, if there are any."""

    max_window_layers: Count

    def kind(self, index: int) -> str:
        """A window from max_window_layers on."""
        return SLIDING if self.window is not None and index >= self.max_window_layers else FULL


class Ernie45Moe(Ernie, Sparse):
    """Ernie4_5_MoeForCausalLM: experts in every moe_layer_interval-th layer of a span, shared ones beside them."""

    num_experts: Count = Field(validation_alias=AliasChoices("moe_num_experts", "num_experts"))
    num_experts_per_tok: Count = Field(validation_alias=AliasChoices("moe_k", "num_experts_per_tok"))
    moe_intermediate_size: Size
    moe_num_shared_experts: Count
    moe_layer_start_index: Count
    moe_layer_end_index: Annotated[int, Field(ge=-1, le=DEPTH)]
    moe_layer_interval: Size

    def has_experts(self, index: int) -> bool:
        """Every moe_layer_interval-th from moe_layer_start_index to moe_layer_end_index, -1 being the last."""
        last = self.depth - 1 if self.moe_layer_end_index == -1 else self.moe_layer_end_index
        return (index + 1) % self.moe_layer_interval == 0 and self.moe_layer_start_index <= index <= last

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP, or experts, whose router has a correction for each."""
        if not self.has_experts(index):
            return super().feed(index, kind)
        shared = self.moe_intermediate_size * self.moe_num_shared_experts
        beside = Weights.gated(self.hidden_size, shared, self.use_bias) if shared else Weights.dense(0)
        return self.experts(self.moe_intermediate_size, self.num_experts * (self.hidden_size + 1)) + beside

    @property
    def outside(self) -> int:
        """With biases of the output head, if use_bias is set."""
        return super().outside + (self.vocab_size if self.use_bias else 0)


class HunyuanMoe(Normed, Sparse):
    """HunYuanMoEV1ForCausalLM: experts beside an MLP; moe_topk may differ by layer."""

    num_experts_per_tok: Count | Indices = Field(  # type: ignore[assignment]
        validation_alias=AliasChoices("moe_topk", "num_experts_per_tok")
    )

    @model_validator(mode="after")
    def _choices_fit(self) -> Self:
        given = self.num_experts_per_tok
        if isinstance(given, list) and len(given) != self.depth:
            raise ValueError(f"moe_topk: must have one entry for each of the {self.depth} layers, found {len(given)}")
        return self

    def feed(self, index: int, kind: str) -> Weights:
        """Experts and the MLP, all of one size."""
        given, each = self.num_experts_per_tok, super().feed(index, kind)
        chosen = given[index] if isinstance(given, list) else given
        return each.experts(self.num_experts, chosen, self.num_experts * self.hidden_size) + each


class Llama4(Biased, Sparse):
    """Llama4ForCausalLM: attention in chunks, full where there are no rotary positions; experts beside an MLP."""

    window_field: ClassVar[str] = "attention_chunk_size"

    intermediate_size_mlp: Size
    sliding_window: Size | None = Field(validation_alias="attention_chunk_size")
    no_rope_layers: Indices | None = None
    no_rope_layer_interval: Size
    moe_layers: Indices | None = None
    interleave_moe_layer_step: Size

    @model_validator(mode="after")
    def _positions_fit(self) -> Self:
        if self.no_rope_layers and len(self.no_rope_layers) != self.depth:
            raise ValueError(
                f"no_rope_layers: must have {self.depth} entries, one per layer, found {len(self.no_rope_layers)}"
            )
        return self

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """A chunk is a window: the most that it keeps."""
        return tuple(SLIDING if kind == "chunked_attention" else kind for kind in super().kinds)

    def kind(self, index: int) -> str:
        """Chunks in layers with rotary positions, where there is a size of them."""
        given = self.no_rope_layers[index : index + 1] if self.no_rope_layers else None
        rotary = turns(index, self.no_rope_layer_interval) == SLIDING if given is None else given != [0]
        return SLIDING if rotary and self.window is not None else FULL

    def has_experts(self, index: int) -> bool:
        """By moe_layers, else every interleave_moe_layer_step-th."""
        if self.moe_layers is not None:
            return index in self.moe_layers
        return (index + 1) % self.interleave_moe_layer_step == 0

    def feed(self, index: int, kind: str) -> Weights:
        """Experts and an MLP of their size, or a wider MLP."""
        if not self.has_experts(index):
            return Weights.gated(self.hidden_size, self.intermediate_size_mlp)
        return self.experts(self.intermediate_size) + super().feed(index, kind)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a chunk is taken for."""
        return ("Chunked attention is counted like windows of the chunk size, the maximum that it stores.",) * (
            SLIDING in self.kinds
        )


class GptOss(Biased, Sparse):
    """GptOssForCausalLM: windows in every other layer, a sink for each head, experts with biases."""

    def kind(self, index: int) -> str:
        """A window first, then full attention, in turns."""
        return turns(index, 2)

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention with a sink for each head."""
        return super().mixer(index, kind).with_more(self.num_attention_heads)

    def feed(self, index: int, kind: str) -> Weights:
        """Experts with biases."""
        router = linear(self.hidden_size, self.num_experts, bias=True)
        each = Weights.gated(self.hidden_size, self.intermediate_size, bias=True)
        return each.experts(self.num_experts, self.chosen, router)
