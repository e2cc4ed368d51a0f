"""Published decoders of latent attention that reads what an indexer picks: DeepSeek-V3.2 and GLM-5."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from l2m_design.architecture.readers.config import DEPTH, Count, Size, Words
from l2m_design.architecture.readers.latent import DeepseekV3
from l2m_design.architecture.readers.mixers import Mixer, indexer

INDEXED = "indexed_attention"
Indexers = Annotated[list[Literal["full", "shared"]], Field(max_length=DEPTH)]


class DeepseekV32(DeepseekV3):
    """DeepseekV32ForCausalLM: each layer's indexer picks the index_topk tokens that a step reads; all stay cached."""

    known: ClassVar[tuple[str, ...]] = (INDEXED,)

    q_lora_rank: Size
    index_topk: Size
    index_head_dim: Size
    index_n_heads: Size
    mlp_layer_types: Words | None = None
    predicted: Count = Field(default=0, validation_alias="num_nextn_predict_layers")

    @model_validator(mode="after")
    def _lists_fit(self) -> Self:
        if self.mlp_layer_types is not None and len(self.mlp_layer_types) != self.depth:
            raise ValueError(
                f"mlp_layer_types: must have {self.depth} entries, one per layer, found {len(self.mlp_layer_types)}"
            )
        return self

    def kind(self, index: int) -> str:
        """All alike, whether a layer has an indexer of its own or not."""
        return INDEXED

    def mixer(self, index: int, kind: str) -> Mixer:
        """Latent attention, and the indexer where the layer has one of its own."""
        mixer = super().mixer(index, kind)
        if not self.has_indexer(index):
            return mixer
        return indexer(mixer, self.hidden_size, self.q_lora_rank, self.index_n_heads, self.index_head_dim)

    def has_indexer(self, index: int) -> bool:
        """Does this layer pick tokens itself?"""
        return True

    def has_experts(self, index: int) -> bool:
        """By mlp_layer_types, else after the first layers."""
        if self.mlp_layer_types is None:
            return super().has_experts(index)
        return self.mlp_layer_types[index : index + 1] == ["sparse"]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is cached although a step does not read it."""
        return (
            f"A decoding step reads {self.index_topk:,} tokens that an indexer picks, but all tokens stay cached, and "
            f"so do the keys of the indexer ({self.index_head_dim} elements per token and indexer).",
            *super().remarks,
        )


class GlmMoeDsa(DeepseekV32):
    """GlmMoeDsaForCausalLM: by indexer_types a layer reads the tokens that an earlier layer's indexer picked.

    index_topk_pattern: the same in letters (F, S) or words; index_topk_freq: else an indexer in so many layers each,
    from layer index_skip_topk_offset - 1 on.
    """

    indexer_types: Indexers | None = None
    index_topk_pattern: Annotated[str, Field(max_length=DEPTH, pattern="^[FS]*$")] | Indexers | None = None
    index_topk_freq: Count = 1
    index_skip_topk_offset: Count = 2

    @model_validator(mode="after")
    def _indexers_fit(self) -> Self:
        for name in ("indexer_types", "index_topk_pattern"):
            given = getattr(self, name)
            if given is not None and len(given) != self.depth:
                raise ValueError(f"{name}: must have one entry for each of the {self.depth} layers, found {len(given)}")
        if not self.has_indexer(0):
            raise ValueError("indexer_types: the first layer needs an indexer of its own, found shared")
        return self

    def has_indexer(self, index: int) -> bool:
        """By indexer_types or index_topk_pattern, else by index_topk_freq."""
        given = self.indexer_types or self.index_topk_pattern
        if given is not None:
            return given[index] in ("full", "F")
        return max(index - self.index_skip_topk_offset + 1, 0) % max(self.index_topk_freq, 1) == 0
