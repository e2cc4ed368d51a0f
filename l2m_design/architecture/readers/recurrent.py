"""Published recurrent models: RecurrentGemma (Griffin) and RWKV-4."""

from typing import Annotated, ClassVar

from pydantic import AliasChoices, Field

from l2m_design.architecture.readers.attention import Biased
from l2m_design.architecture.readers.config import LINEAR, SLIDING, Config, Depth, Size, Taps, divides
from l2m_design.architecture.readers.mixers import Mixer, Weights, linear, rg_lru, rwkv4


class RecurrentGemma(Biased):
    """RecurrentGemmaForCausalLM: RG-LRU blocks and attention in windows, by block_types over and over."""

    known: ClassVar[tuple[str, ...]] = (SLIDING, LINEAR)

    sliding_window: Size | None = Field(validation_alias=AliasChoices("attention_window_size", "sliding_window"))
    lru_width: Size | None = None
    conv1d_width: Taps
    block_types: Annotated[list[str], Field(min_length=1, max_length=1024)]

    @property
    def biases(self) -> tuple[bool, bool]:
        """attention_bias, and always one on the output."""
        return self.attention_bias, True

    def kind(self, index: int) -> str:
        """By block_types, over and over."""
        return LINEAR if self.block_types[index % len(self.block_types)] == "recurrent" else SLIDING

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention in a window, or an RG-LRU block."""
        if kind == SLIDING:
            return super().mixer(index, kind)
        lru = self.lru_width or self.hidden_size
        divides(self.num_attention_heads, "num_attention_heads", lru, "lru_width")
        return rg_lru(self.hidden_size, lru, self.num_attention_heads, self.conv1d_width)

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP of half the named channels, with biases."""
        return Weights.gated(self.hidden_size, self.intermediate_size // 2, bias=True)


class Rwkv(Config):
    """RwkvForCausalLM (RWKV-4); the first layer has a norm before all others."""

    known: ClassVar[tuple[str, ...]] = (LINEAR,)

    num_hidden_layers: Depth
    attention_hidden_size: Size | None = None
    intermediate_size: Size | None = None

    @property
    def depth(self) -> int:
        """num_hidden_layers."""
        return self.num_hidden_layers

    @property
    def norm(self) -> int:
        """Scale and shift."""
        return 2 * self.hidden_size

    def kind(self, index: int) -> str:
        """A recurrence."""
        return LINEAR

    def mixer(self, index: int, kind: str) -> Mixer:
        """Time mixing."""
        return rwkv4(self.hidden_size, self.attention_hidden_size or self.hidden_size)

    def feed(self, index: int, kind: str) -> Weights:
        """Channel mixing, whose last input is part of the state too; four times as wide as the model by default."""
        width, hidden = self.hidden_size, self.intermediate_size or 4 * self.hidden_size
        first = self.norm if index == 0 else 0
        return Weights.dense(linear(width, hidden) + linear(hidden, width) + linear(width, width) + 2 * width + first)
