"""Published decoders of attention alone, full, in windows, or mixed, with gated MLPs."""

from typing import ClassVar, Self

from pydantic import model_validator

from l2m_design.architecture.readers.config import FULL, SLIDING, Config, Count, Depth, Indices, Size, divides
from l2m_design.architecture.readers.mixers import Attention, Mixer, Weights


def turns(index: int, every: int) -> str:
    """Windows, and full attention in every `every`-th layer."""
    return SLIDING if (index + 1) % every else FULL


class Grouped(Config):
    """Grouped-query attention and a gated MLP. The cache follows layer_types, and sliding_window where there are none.

    qk_norm: whether each head's queries and keys have an RMSNorm. gated: whether the output has a gate.
    window_field: the field that says how long windows are.
    """

    known: ClassVar[tuple[str, ...]] = (FULL, SLIDING)
    qk_norm: ClassVar[bool] = False
    gated: ClassVar[bool] = False
    window_field: ClassVar[str] = "sliding_window"

    intermediate_size: Size
    num_hidden_layers: Depth
    num_attention_heads: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    sliding_window: Size | None = None

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        divides(self.kv_heads, "num_key_value_heads", self.num_attention_heads, "num_attention_heads")
        if self.head_dim is None and self.hidden_size < self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be at least num_attention_heads ({self.num_attention_heads})"
            )
        if SLIDING in self.kinds and self.window is None:
            raise ValueError(f"{self.window_field}: required by layers of sliding_attention, found none")
        return self

    @property
    def depth(self) -> int:
        """num_hidden_layers."""
        return self.num_hidden_layers

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values; as many as of queries where none are given."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def size_of_head(self) -> int:
        """head_dim, or the width shared by the heads."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def biases(self) -> tuple[bool, bool]:
        """Are there biases on queries, keys and values; on the output?"""
        return False, False

    @property
    def norms_of_heads(self) -> int:
        """Trainable numbers of the norms on queries and keys."""
        return 2 * self.size_of_head if self.qk_norm else 0

    @property
    def window(self) -> int | None:
        """Tokens that a layer of sliding_attention reads."""
        return self.sliding_window

    def kind(self, index: int) -> str:
        """sliding_attention wherever there is a window."""
        return FULL if self.window is None else SLIDING

    def mixer(self, index: int, kind: str) -> Mixer:
        """The attention of a layer, or what a hybrid has in its place."""
        bias, out_bias = self.biases
        return (
            Attention(
                self.num_attention_heads,
                self.kv_heads,
                self.size_of_head,
                self.window if kind == SLIDING else None,
                bias=bias,
                out_bias=out_bias,
                gated=self.gated,
            )
            .mixer(self.hidden_size)
            .with_more(self.norms_of_heads)
        )

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP."""
        return Weights.gated(self.hidden_size, self.intermediate_size)


class Biased(Grouped):
    """Biases on all of attention's projections, if attention_bias is set."""

    attention_bias: bool

    @property
    def biases(self) -> tuple[bool, bool]:
        """attention_bias, both."""
        return self.attention_bias, self.attention_bias


class InBiased(Biased):
    """Biases on queries, keys and values, if attention_bias is set."""

    @property
    def biases(self) -> tuple[bool, bool]:
        """attention_bias, and none on the output."""
        return self.attention_bias, False


class Normed(Biased):
    """Norms on each head's queries and keys."""

    qk_norm: ClassVar[bool] = True


class NormedWhole(Grouped):
    """Norms on all queries and on all keys, across heads."""

    @property
    def norms_of_heads(self) -> int:
        """As many as there are channels of both."""
        return (self.num_attention_heads + self.kv_heads) * self.size_of_head


class Llama(Biased):
    """LlamaForCausalLM."""

    mlp_bias: bool

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP, with biases or without."""
        return Weights.gated(self.hidden_size, self.intermediate_size, self.mlp_bias)


class SmolLM3(Llama):
    """SmolLM3ForCausalLM: layers without rotary positions are those that may have a window."""

    use_sliding_window: bool
    no_rope_layers: Indices | None = None
    no_rope_layer_interval: Size

    @model_validator(mode="after")
    def _positions_fit(self) -> Self:
        if self.no_rope_layers is not None and len(self.no_rope_layers) != self.depth:
            raise ValueError(
                f"no_rope_layers: must have {self.depth} entries, one per layer, found {len(self.no_rope_layers)}"
            )
        return self

    def kind(self, index: int) -> str:
        """sliding_attention where use_sliding_window is set and the layer has no rotary positions."""
        given = self.no_rope_layers
        rotary = (
            (index + 1) % self.no_rope_layer_interval != 0 if given is None else index < len(given) and given[index]
        )
        return SLIDING if self.use_sliding_window and self.window is not None and not rotary else FULL


class Qwen2(Grouped):
    """Qwen2ForCausalLM: biases on queries, keys and values; windows from max_window_layers on, if they are used."""

    use_sliding_window: bool
    max_window_layers: Count = 28

    @property
    def biases(self) -> tuple[bool, bool]:
        """On queries, keys and values."""
        return True, False

    @property
    def window(self) -> int | None:
        """sliding_window where use_sliding_window is set."""
        return self.sliding_window if self.use_sliding_window else None

    def kind(self, index: int) -> str:
        """sliding_attention from max_window_layers on, where windows are used."""
        return SLIDING if self.window is not None and index >= self.max_window_layers else FULL


class Qwen3(Qwen2):
    """Qwen3ForCausalLM: norms on queries and keys, biases by attention_bias."""

    qk_norm: ClassVar[bool] = True

    attention_bias: bool

    @property
    def biases(self) -> tuple[bool, bool]:
        """attention_bias, both."""
        return self.attention_bias, self.attention_bias


class Gemma2(Biased):
    """Gemma2ForCausalLM: windows in every other layer, norms before and after mixer and MLP."""

    norms: ClassVar[int] = 4

    def kind(self, index: int) -> str:
        """A window first, then full attention, in turns."""
        return turns(index, 2)


class Gemma3(Gemma2):
    """Gemma3ForCausalLM: full attention in every sliding_window_pattern-th layer."""

    qk_norm: ClassVar[bool] = True

    sliding_window_pattern: Size = 6
    use_bidirectional_attention: bool | None

    @property
    def window(self) -> int | None:
        """sliding_window, half of it (and one) where attention looks both ways."""
        if self.sliding_window is None or not self.use_bidirectional_attention:
            return self.sliding_window
        return self.sliding_window // 2 + 1

    def kind(self, index: int) -> str:
        """Full attention every sliding_window_pattern layers."""
        return turns(index, self.sliding_window_pattern)
