"""Published decoders of attention alone whose norms, biases, MLPs or output heads are their own."""

from dataclasses import replace
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Field

from l2m_design.architecture.readers.attention import Biased, Grouped, InBiased, Llama, NormedWhole, turns
from l2m_design.architecture.readers.config import FULL, Count, Indices, Size
from l2m_design.architecture.readers.mixers import Mixer, Weights

CROSS = "cross_attention"


class Glm4(InBiased):
    """Glm4ForCausalLM: norms before and after mixer and MLP."""

    norms: ClassVar[int] = 4


class Glm4v(Grouped):
    """Glm4vTextModel: as GLM-4, with biases always."""

    norms: ClassVar[int] = 4

    @property
    def biases(self) -> tuple[bool, bool]:
        """On queries, keys and values."""
        return True, False


class SeedOss(Llama):
    """SeedOssForCausalLM: a bias of its own on the output."""

    attention_out_bias: bool

    @property
    def biases(self) -> tuple[bool, bool]:
        """attention_bias and attention_out_bias."""
        return self.attention_bias, self.attention_out_bias


class Olmo(Biased):
    """OlmoForCausalLM: norms without weights."""

    @property
    def norm(self) -> int:
        """None."""
        return 0


class Olmo2(Biased, NormedWhole):
    """Olmo2ForCausalLM."""


class Olmo3(Olmo2):
    """Olmo3ForCausalLM: three windows, then full attention, in turns."""

    def kind(self, index: int) -> str:
        """Full attention in every fourth layer."""
        return turns(index, 4)


class Exaone4(Grouped):
    """Exaone4ForCausalLM: full attention in every sliding_window_pattern-th layer, or by its letters (LLLG)."""

    qk_norm: ClassVar[bool] = True

    sliding_window_pattern: Count | Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[LG]+$")] | None

    def kind(self, index: int) -> str:
        """Full attention everywhere where there is no window."""
        pattern = self.sliding_window_pattern
        if self.window is None or not pattern:
            return FULL
        if isinstance(pattern, str):
            return turns(0, 2 if pattern[index % len(pattern)] == "L" else 1)
        return turns(index, pattern)


class Cohere(Biased):
    """CohereForCausalLM: attention and MLP side by side after one norm; norms of heads where use_qk_norm is set."""

    norms: ClassVar[int] = 1

    use_qk_norm: bool

    @property
    def norms_of_heads(self) -> int:
        """A scale for each channel of queries and keys."""
        return (self.num_attention_heads + self.kv_heads) * self.size_of_head if self.use_qk_norm else 0


class Cohere2(Biased):
    """Cohere2ForCausalLM: as Cohere, with full attention in every sliding_window_pattern-th layer."""

    norms: ClassVar[int] = 1

    sliding_window_pattern: Size = 4

    def kind(self, index: int) -> str:
        """Full attention every sliding_window_pattern layers."""
        return turns(index, self.sliding_window_pattern)


class Ernie(Grouped):
    """Ernie4_5ForCausalLM: biases everywhere, if use_bias is set."""

    use_bias: bool

    @property
    def biases(self) -> tuple[bool, bool]:
        """use_bias, both."""
        return self.use_bias, self.use_bias

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP, with biases or without."""
        return Weights.gated(self.hidden_size, self.intermediate_size, self.use_bias)


class Plain(Grouped):
    """LayerNorms with shifts, and MLPs of up and down."""

    @property
    def norm(self) -> int:
        """Scale and shift."""
        return 2 * self.hidden_size

    def feed(self, index: int, kind: str) -> Weights:
        """A plain MLP with biases."""
        return Weights.plain(self.hidden_size, self.intermediate_size)


class Phi(Plain):
    """PhiForCausalLM: attention and MLP side by side after one norm, biases everywhere, the output head included."""

    norms: ClassVar[int] = 1

    qk_layernorm: bool

    @property
    def biases(self) -> tuple[bool, bool]:
        """On all."""
        return True, True

    @property
    def norms_of_heads(self) -> int:
        """Scale and shift of each, if qk_layernorm is set."""
        return 4 * self.size_of_head if self.qk_layernorm else 0

    @property
    def outside(self) -> int:
        """With the biases of the output head."""
        return super().outside + self.vocab_size


class Starcoder2(Plain):
    """Starcoder2ForCausalLM: biases where use_bias is set."""

    use_bias: bool

    @property
    def biases(self) -> tuple[bool, bool]:
        """use_bias, both."""
        return self.use_bias, self.use_bias

    def feed(self, index: int, kind: str) -> Weights:
        """A plain MLP, with biases or without."""
        return Weights.plain(self.hidden_size, self.intermediate_size, self.use_bias)


class Nemotron(Biased, Plain):
    """NemotronForCausalLM."""

    mlp_bias: bool

    def feed(self, index: int, kind: str) -> Weights:
        """A plain MLP, with biases or without."""
        return Weights.plain(self.hidden_size, self.intermediate_size, self.mlp_bias)


class Mllama(Grouped):
    """MllamaForCausalLM: attention, and gated cross-attention to images in some layers, which keep nothing of text."""

    known: ClassVar[tuple[str, ...]] = (FULL, CROSS)

    cross_attention_layers: Indices | None = None

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """By cross_attention_layers, else as in Llama-3.2-11B-Vision."""
        given = self.cross_attention_layers
        crossing = tuple(range(3, 40, 5)) if given is None else given
        return tuple(CROSS if index in crossing else FULL for index in range(self.depth))

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention, or cross-attention with norms on queries and keys and two gates."""
        mixer = super().mixer(index, FULL)
        if kind == FULL:
            return mixer
        return replace(mixer.with_more(2 * self.size_of_head + 2), kind=CROSS, letter="X", parts=())

    @property
    def outside(self) -> int:
        """With embeddings of eight further tokens."""
        return super().outside + 8 * self.hidden_size

    @property
    def remarks(self) -> tuple[str, ...]:
        """What images add."""
        count = self.kinds.count(CROSS)
        return (
            f"Its {count} cross-attention layers store nothing of the text; keys and values of the image, a constant, "
            "are not counted.",
        ) * (count > 0)
