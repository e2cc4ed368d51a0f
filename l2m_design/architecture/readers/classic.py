"""Published decoders of the older kind: GPT-2 and GPT-NeoX."""

from typing import Self

from pydantic import AliasChoices, Field, model_validator

from l2m_design.architecture.readers.config import Config, Depth, Size, divides
from l2m_design.architecture.readers.mixers import Attention, Mixer, Weights


class Classic(Config):
    """What GPT-2 and GPT-NeoX share: heads that share the width, plain MLPs, LayerNorms with biases."""

    num_hidden_layers: Depth
    num_attention_heads: Size
    intermediate_size: Size | None
    sliding_window: None = None

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        divides(self.num_attention_heads, "the number of attention heads", self.hidden_size, "the width")
        return self

    @property
    def depth(self) -> int:
        """num_hidden_layers."""
        return self.num_hidden_layers

    @property
    def norm(self) -> int:
        """Scale and shift."""
        return 2 * self.hidden_size

    def heads(self, bias: bool) -> Mixer:
        """Full attention, one head of keys for each of queries."""
        heads = self.num_attention_heads
        return Attention(heads, heads, self.hidden_size // heads, bias=bias).mixer(self.hidden_size)

    def mixer(self, index: int, kind: str) -> Mixer:
        """Full attention with biases."""
        return self.heads(bias=True)

    def feed(self, index: int, kind: str) -> Weights:
        """A plain MLP, four times as wide as the model by default."""
        return Weights.plain(self.hidden_size, self.intermediate_size or 4 * self.hidden_size)


class Gpt2(Classic):
    """GPT2LMHeadModel: learned positions."""

    hidden_size: Size = Field(validation_alias=AliasChoices("n_embd", "hidden_size"))
    num_hidden_layers: Depth = Field(validation_alias=AliasChoices("n_layer", "num_hidden_layers"))
    num_attention_heads: Size = Field(validation_alias=AliasChoices("n_head", "num_attention_heads"))
    intermediate_size: Size | None = Field(default=None, validation_alias="n_inner")
    max_position_embeddings: Size | None = Field(
        default=1024, validation_alias=AliasChoices("n_positions", "max_position_embeddings")
    )

    @property
    def outside(self) -> int:
        """Embeddings of tokens and of positions, and the last norm."""
        return super().outside + (self.max_position_embeddings or 0) * self.hidden_size


class GptNeoX(Classic):
    """GPTNeoXForCausalLM (Pythia)."""

    attention_bias: bool

    def mixer(self, index: int, kind: str) -> Mixer:
        """Full attention, with biases or without."""
        return self.heads(self.attention_bias)
