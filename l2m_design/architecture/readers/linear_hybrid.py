"""Published hybrids of attention with a linear recurrence: MiniMax (lightning attention), OLMo Hybrid and Zamba."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from l2m_design.architecture.readers.attention import Biased, Grouped
from l2m_design.architecture.readers.config import DEPTH, FULL, LINEAR, Auto, Count, Size, Taps, Words, divides
from l2m_design.architecture.readers.experts import Sparse
from l2m_design.architecture.readers.mamba2_hybrid import BLOCK_TYPES, HYBRID
from l2m_design.architecture.readers.mixers import Attention, GatedDelta, Mamba1, Mixer, Weights, lightning, linear


class MiniMax(Grouped, Sparse):
    """MiniMaxForCausalLM: lightning attention and full attention, in turns by default; experts in every layer.

    attn_type_list: of MiniMax's own configs, 1 for full attention and 0 for lightning attention.
    """

    known: ClassVar[tuple[str, ...]] = (FULL, LINEAR)

    attn_type_list: Annotated[list[Annotated[int, Field(ge=0, le=1)]], Field(max_length=DEPTH)] | None = None
    shared_intermediate_size: Count = 0

    @model_validator(mode="after")
    def _list_fits(self) -> Self:
        if self.attn_type_list is not None and len(self.attn_type_list) != self.depth:
            raise ValueError(
                f"attn_type_list: must have {self.depth} entries, one per layer, found {len(self.attn_type_list)}"
            )
        if self.shared_intermediate_size:
            raise ValueError(
                f"shared_intermediate_size: must be 0 (no shared expert), found {self.shared_intermediate_size}"
            )
        return self

    def kind(self, index: int) -> str:
        """By attn_type_list, else full attention first and lightning attention second, in turns."""
        if self.attn_type_list is not None:
            return FULL if self.attn_type_list[index : index + 1] == [1] else LINEAR
        return LINEAR if index % 2 else FULL

    def mixer(self, index: int, kind: str) -> Mixer:
        """Full attention, or lightning attention with as many heads of keys as of queries."""
        if kind == FULL:
            return super().mixer(index, kind)
        return lightning(self.hidden_size, self.num_attention_heads, self.size_of_head)

    def feed(self, index: int, kind: str) -> Weights:
        """Experts."""
        return self.experts(self.intermediate_size)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Where a window does not bound the cache."""
        return ("Its cache stores all tokens, although its attention reads only a window.",) * bool(self.sliding_window)


class OlmoHybrid(Biased):
    """OlmoHybridForCausalLM: gated DeltaNet, and every fourth layer attention with norms over all heads together."""

    known: ClassVar[tuple[str, ...]] = (FULL, LINEAR)

    linear_num_key_heads: Size | None = None
    linear_num_value_heads: Size | None = None
    linear_key_head_dim: Size | None = None
    linear_value_head_dim: Size | None = None
    linear_conv_kernel_dim: Taps

    def kind(self, index: int) -> str:
        """Full attention every fourth layer, and in the last where there are fewer than four."""
        return FULL if index % 4 == 3 or (self.depth < 4 and index == self.depth - 1) else LINEAR

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention, or a gated DeltaNet whose keys take three quarters of the width and values twice as much."""
        if kind == FULL:
            norms = (self.num_attention_heads + self.kv_heads) * self.size_of_head
            return super().mixer(index, kind).with_more(norms)
        key_heads = self.linear_num_key_heads or self.num_attention_heads
        value_heads = self.linear_num_value_heads or self.num_attention_heads
        divides(key_heads, "linear_num_key_heads", value_heads, "linear_num_value_heads")
        key = self.linear_key_head_dim or int(0.75 * self.hidden_size / key_heads)
        value = self.linear_value_head_dim or 2 * key
        if not key:
            raise ValueError(f"linear_num_key_heads ({key_heads}) must be at most 0.75 x hidden_size")
        return GatedDelta(key_heads, value_heads, key, value, self.linear_conv_kernel_dim).mixer(self.hidden_size)


class Zamba(Grouped):
    """ZambaForCausalLM: Mamba-1 in every layer; hybrid ones put one transformer block before it, reading the embeddings
    beside the stream. Its weights are shared by all of them (by the class only where tie_word_embeddings is set), its
    caches are not.
    """

    known: ClassVar[tuple[str, ...]] = (LINEAR, HYBRID)
    norms: ClassVar[int] = 1

    layer_types: Words | None = Field(default=None, validation_alias=BLOCK_TYPES)
    head_dim: Size | None = Field(default=None, validation_alias="attention_head_dim")
    attention_hidden_size: Size | None = None
    attn_layer_period: Size
    attn_layer_offset: Count
    n_mamba_heads: Size
    mamba_d_state: Size
    mamba_d_conv: Taps
    mamba_expand: Size
    mamba_dt_rank: Auto = None
    mamba_conv_bias: bool
    mamba_proj_bias: bool

    @property
    def size_of_head(self) -> int:
        """attention_head_dim, or the heads' share of twice the width."""
        return self.head_dim or 2 * self.hidden_size // self.num_attention_heads

    @property
    def inputs(self) -> int:
        """Channels that attention reads: the stream and the embeddings."""
        return self.attention_hidden_size or 2 * self.hidden_size

    def kind(self, index: int) -> str:
        """The third layer, then at attn_layer_offset of each attn_layer_period, counted from the fourth."""
        later = index > 2 and (index - 3) % self.attn_layer_period == self.attn_layer_offset
        return HYBRID if index == 2 or later else LINEAR

    def mixer(self, index: int, kind: str) -> Mixer:
        """Mamba-1, and attention before it in hybrid layers, whose weights count where they are met first."""
        inner = self.mamba_expand * self.hidden_size
        divides(self.n_mamba_heads, "n_mamba_heads", inner, "mamba_expand x hidden_size")
        space = Mamba1(
            inner,
            self.mamba_d_state,
            self.mamba_d_conv,
            self.mamba_dt_rank or -(-self.hidden_size // 16),
            bias=self.mamba_proj_bias,
            conv_bias=self.mamba_conv_bias,
        ).mixer(self.hidden_size)
        if kind == LINEAR:
            return space
        heads = Attention(self.num_attention_heads, self.kv_heads, self.size_of_head, inputs=self.inputs).mixer(
            self.hidden_size
        )
        return heads.with_more(0 if self._first(index) else -heads.weights).beside(space)

    def _first(self, index: int) -> bool:
        """Is this the first hybrid layer, or one with weights of its own?"""
        return HYBRID not in self.kinds[:index] or not self.tie_word_embeddings

    def feed(self, index: int, kind: str) -> Weights:
        """Of hybrid layers: the linear map behind the block; its MLP and its norms where they are met first."""
        if kind == LINEAR:
            return Weights.dense(0)
        own = Weights.dense(linear(self.hidden_size, self.hidden_size))
        norms = Weights.dense(self.inputs + self.hidden_size)
        return own + norms + Weights.gated(self.hidden_size, self.intermediate_size) if self._first(index) else own

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is shared."""
        if not self.tie_word_embeddings:
            return ()
        return (
            f"Its {self.kinds.count(HYBRID)} hybrid layers share one set of weights, counted once; each stores its own "
            "keys and values.",
        )
