"""Published decoders whose last layers read the keys and values of earlier ones: Gemma 3n and Gemma 4."""

from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from l2m_design.architecture.readers.attention import Biased
from l2m_design.architecture.readers.config import DEPTH, FULL, SLIDING, Count, Lenient, Size
from l2m_design.architecture.readers.mixers import Attention, Mixer, Weights, linear
from l2m_design.settings import Json

Sizes = Annotated[
    list[Size],
    Field(min_length=1, max_length=DEPTH),
    BeforeValidator(lambda given: [given] if isinstance(given, int) else given),
]


class Shared(Biased):
    """The last num_kv_shared_layers layers read the cache of the last layer of their type before them.

    Each layer also gets an embedding of its own: hidden_size_per_layer_input channels, through a gate and a norm.
    """

    norms: ClassVar[int] = 4
    interval: ClassVar[int]

    head_dim: Size
    sliding_window: Size
    num_kv_shared_layers: Count
    vocab_size_per_layer_input: Size
    hidden_size_per_layer_input: Count

    @model_validator(mode="after")
    def _sources_are_there(self) -> Self:
        for index, kind in enumerate(self.kinds):
            if index >= self.owners and kind not in self.kinds[: self.owners]:
                raise ValueError(
                    f"num_kv_shared_layers ({self.num_kv_shared_layers}): layer {index} is of {kind}, "
                    f"but none of the {self.owners} layers with a cache"
                )
        return self

    @property
    def owners(self) -> int:
        """Layers that keep a cache of their own."""
        return max(0, self.depth - self.num_kv_shared_layers)

    @cached_property
    def sources(self) -> dict[str, int]:
        """The layer whose cache is read, by layer type."""
        return {kind: index for index, kind in enumerate(self.kinds[: self.owners])}

    def shares(self, index: int) -> int | None:
        """The last layer of this type that keeps a cache, for the layers that do not."""
        return None if index < self.owners else self.sources[self.kinds[index]]

    def kind(self, index: int) -> str:
        """Full attention in every interval-th layer."""
        return SLIDING if (index + 1) % self.interval else FULL

    def heads(self, index: int, kind: str) -> tuple[int, int]:
        """Heads of keys and values of a layer, and channels of each."""
        return self.kv_heads, self.head_dim

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention with norms of queries and keys; queries alone, where the cache is another layer's."""
        bias, out_bias = self.biases
        kv_heads, head_dim = self.heads(index, kind)
        reads_other = self.shares(index) is not None
        return (
            Attention(
                self.num_attention_heads,
                kv_heads,
                head_dim,
                self.window if kind == SLIDING else None,
                bias=bias,
                out_bias=out_bias,
                reads_other=reads_other,
            )
            .mixer(self.hidden_size)
            .with_more(head_dim if reads_other else 2 * head_dim)
        )

    @property
    def own_embedding(self) -> Weights:
        """Gate, projection and norm of a layer's own embedding."""
        own = self.hidden_size_per_layer_input
        return Weights.dense(2 * linear(self.hidden_size, own) + self.norm if own else 0)

    @property
    def outside(self) -> int:
        """With the tables and the projection that the layers' own embeddings come from."""
        own = self.hidden_size_per_layer_input
        tables = (self.vocab_size_per_layer_input + self.hidden_size) * self.depth * own + own
        return super().outside + tables


class Gemma3n(Shared):
    """Gemma3nForCausalLM: four streams mixed by AltUp, a low-rank path (LAuReL) beside attention.

    intermediate_size: one for all layers, or one for each.
    """

    interval: ClassVar[int] = 5

    intermediate_size: Sizes  # type: ignore[assignment]
    altup_num_inputs: Annotated[int, Field(ge=1, le=1024)]
    laurel_rank: Size

    @model_validator(mode="after")
    def _hidden_fits(self) -> Self:
        if len(self.intermediate_size) not in (1, self.depth):
            raise ValueError(
                f"intermediate_size: must have {self.depth} entries, one per layer, or a single one, found "
                f"{len(self.intermediate_size)}"
            )
        return self

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP, LAuReL, AltUp and the layer's own embedding."""
        width, streams, sizes = self.hidden_size, self.altup_num_inputs, self.intermediate_size
        laurel = 2 * linear(width, self.laurel_rank) + width
        altup = 2 * width + linear(width, streams) + linear(streams, streams) + linear(streams, streams**2)
        hidden = sizes[index % len(sizes)]
        return Weights.gated(width, hidden) + Weights.dense(laurel + altup) + self.own_embedding

    @property
    def outside(self) -> int:
        """With the projections into the further streams and back."""
        return super().outside + 2 * (self.altup_num_inputs - 1) * linear(self.hidden_size, self.hidden_size)


class OneLayer(Lenient):
    """What per_layer_config says of one layer's heads."""

    head_dim: Size | None = None
    num_key_value_heads: Size | None = None


class Gemma4(Shared):
    """Gemma4ForCausalLM: full attention has larger heads, and may project keys and values as one; the last layer has
    full attention whatever its type; experts beside the MLP where enable_moe_block is set.

    per_layer_config: the heads of the layers that differ, as transformers saves them in place of global_head_dim.
    """

    interval: ClassVar[int] = 6

    global_head_dim: Size = 512
    per_layer_config: Annotated[dict[str, OneLayer], Field(max_length=DEPTH)] | None = None
    num_global_key_value_heads: Size | None = None
    attention_k_eq_v: bool
    use_double_wide_mlp: bool
    use_bidirectional_attention: Literal["all", "vision"] | None = None
    enable_moe_block: bool
    num_experts: Count | None = None
    top_k_experts: Count | None = None
    moe_intermediate_size: Size | None = None

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """As given, the last one full."""
        return (*super().kinds[:-1], FULL)

    @property
    def window(self) -> int:
        """sliding_window, half of it (and one) where attention looks both ways."""
        return self.sliding_window // 2 + 1 if self.use_bidirectional_attention == "all" else self.sliding_window

    def heads(self, index: int, kind: str) -> tuple[int, int]:
        """Those of full attention may differ from those of windows."""
        if self.per_layer_config is not None:
            given = self.per_layer_config.get(str(index), OneLayer())
            return given.num_key_value_heads or self.kv_heads, given.head_dim or self.head_dim
        if kind == SLIDING:
            return self.kv_heads, self.head_dim
        own = self.num_global_key_value_heads if self.attention_k_eq_v else None
        return own or self.kv_heads, self.global_head_dim

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention, whose values come from the projection of the keys where attention_k_eq_v is set."""
        mixer = super().mixer(index, kind)
        if not self.attention_k_eq_v or kind == SLIDING or self.shares(index) is not None:
            return mixer
        kv_heads, head_dim = self.heads(index, kind)
        return mixer.with_more(-linear(self.hidden_size, kv_heads * head_dim, self.attention_bias))

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP (twice as wide in layers without a cache, if configured), experts, the embedding of the layer."""
        wide = self.use_double_wide_mlp and self.shares(index) is not None
        whole = Weights.gated(self.hidden_size, self.intermediate_size * (2 if wide else 1)) + self.own_embedding
        return whole + self._experts() if self.enable_moe_block else whole

    def _experts(self) -> Weights:
        """Experts, a router with scales, and three norms around."""
        count, chosen, hidden = self.num_experts, self.top_k_experts, self.moe_intermediate_size
        if count is None or chosen is None or hidden is None:
            raise ValueError("num_experts, top_k_experts, moe_intermediate_size: required if enable_moe_block is set")
        router = linear(self.hidden_size, count) + self.hidden_size + count
        return Weights.gated(self.hidden_size, hidden).experts(count, chosen, router) + Weights.dense(3 * self.norm)

    @property
    def assumed(self) -> Json:
        """Without global_head_dim where per_layer_config stands in its place."""
        taken = super().assumed
        return {name: taken[name] for name in taken if self.per_layer_config is None or name != "global_head_dim"}
