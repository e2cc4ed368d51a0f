"""Published models of flash-linear-attention (fla-org): GLA, DeltaNet, gated DeltaNet and KDA, attention among them."""

import math
from abc import abstractmethod
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from l2m_design.architecture.readers import fla_mixers
from l2m_design.architecture.readers.config import (
    DEPTH,
    FULL,
    LINEAR,
    SLIDING,
    Config,
    Depth,
    Indices,
    Lenient,
    Size,
    Taps,
    divides,
)
from l2m_design.architecture.readers.fla_mixers import Heads
from l2m_design.architecture.readers.mixers import Attention, Mixer, Weights

Ratio = Annotated[float, Field(gt=0, le=1024)]


class Attn(Lenient):
    """attn of fla: layers (from 0) that have softmax attention instead, and its sizes; window_size: tokens, or all."""

    layers: Indices
    num_heads: Size
    num_kv_heads: Size | None = None
    qkv_bias: bool = False
    window_size: Size | None = None

    def mixer(self, width: int) -> Mixer:
        """Its attention at a model width."""
        kv_heads = self.num_kv_heads or self.num_heads
        divides(self.num_heads, "attn.num_heads", width, "hidden_size")
        divides(kv_heads, "attn.num_kv_heads", self.num_heads, "attn.num_heads")
        head_dim = width // self.num_heads
        return Attention(
            self.num_heads, kv_heads, head_dim, self.window_size, bias=self.qkv_bias, out_bias=False
        ).mixer(width)


Specs = Annotated[
    list[Attn],
    Field(max_length=DEPTH),
    BeforeValidator(lambda given: [given] if isinstance(given, dict) else given),
]


class Fla(Config):
    """What fla's models share. Their configs bound no positions: max_position_embeddings sizes a table alone."""

    own_runtime: ClassVar[str] = "fla"
    known: ClassVar[tuple[str, ...]] = (LINEAR, FULL, SLIDING)

    vocab_size: Size = 32000
    hidden_size: Size = 2048
    num_hidden_layers: Depth = 24
    tie_word_embeddings: bool = False

    @classmethod
    def parse(cls, data: Any, where: str) -> Self:
        """Validate the data of a file over fla's defaults (those of transformers are of other classes)."""
        return super(Config, cls).parse(data, where)

    @field_validator("max_position_embeddings", mode="before")
    @classmethod
    def _bounds_nothing(cls, given: Any) -> None:
        return None

    @property
    def depth(self) -> int:
        """num_hidden_layers."""
        return self.num_hidden_layers

    def kind(self, index: int) -> str:
        """A recurrence."""
        return LINEAR


class Mixed(Fla):
    """Recurrences, attention where `attn` lists layers, and gated MLPs.

    hidden_ratio: channels of the MLP over the width, 2/3 of it rounded up to 256s, where intermediate_size gives none.
    attnres_block_size: where given, layers read a mixture of earlier residuals.
    """

    hidden_ratio: Ratio | None = 4
    intermediate_size: Size | None = None
    attn: Specs | None = None
    attnres_block_size: Size | None = None

    @model_validator(mode="after")
    def _attention_fits(self) -> Self:
        listed = [index for spec in self.attn or () for index in spec.layers]
        if any(not 0 <= index < self.depth for index in listed) or len(set(listed)) < len(listed):
            raise ValueError(
                f"attn.layers: must name layers from 0 to {self.depth - 1}, each once, found {str(listed)[:40]}"
            )
        return self

    @cached_property
    def of_layer(self) -> dict[int, Attn]:
        """The attention of each layer that has one."""
        return {index: spec for spec in self.attn or () for index in spec.layers}

    def kind(self, index: int) -> str:
        """Attention, in a window or not, where attn lists the layer."""
        spec = self.of_layer.get(index)
        return LINEAR if spec is None else FULL if spec.window_size is None else SLIDING

    def mixer(self, index: int, kind: str) -> Mixer:
        """The recurrence, or attention."""
        spec = self.of_layer.get(index)
        return self.recurrence(index) if spec is None else spec.mixer(self.hidden_size)

    @abstractmethod
    def recurrence(self, index: int) -> Mixer:
        """The recurrence of a layer."""

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP, and what chooses among residuals."""
        hidden = self.intermediate_size
        if hidden is None:
            hidden = -(-int(self.hidden_size * (self.hidden_ratio or 4) * 2 / 3) // 256) * 256
        chooses = 4 * self.hidden_size if self.attnres_block_size else 0
        return Weights.gated(self.hidden_size, hidden) + Weights.dense(chooses)

    @property
    def outside(self) -> int:
        """Embeddings, the last norm, and what chooses among residuals before it."""
        return super().outside + (2 * self.hidden_size if self.attnres_block_size else 0)


def whole(width: int, ratio: float, name: str) -> int:
    """width x ratio; raises ValueError where that is no whole number of channels."""
    channels = round(width * ratio)
    if channels < 1 or not math.isclose(width * ratio, channels, rel_tol=1e-5):
        raise ValueError(f"{name} ({ratio:g}) x {width} must be a whole number")
    return channels


class Expanded(Mixed):
    """Keys and values are expand_k and expand_v times as wide as the model, shared by num_heads heads."""

    expand_k: Ratio
    expand_v: Ratio = 1.0
    num_heads: Size = 4
    use_short_conv: bool
    conv_size: Taps = 4

    def sizes(self, groups: int = 1) -> Heads:
        """With one head of keys and values for `groups` of queries."""
        keys = whole(self.hidden_size, self.expand_k, "expand_k")
        values = whole(self.hidden_size, self.expand_v, "expand_v")
        divides(self.num_heads, "num_heads", keys, "expand_k x hidden_size")
        divides(self.num_heads, "num_heads", values, "expand_v x hidden_size")
        heads, few = self.num_heads, self.num_heads // groups
        taps = self.conv_size if self.use_short_conv else None
        return Heads(heads, few, few, keys // heads, values // heads, heads, taps)


class Gla(Expanded):
    """GLAForCausalLM."""

    expand_k: Ratio = 0.5
    use_short_conv: bool = False
    num_kv_heads: Size | None = None
    use_output_gate: bool = True
    elementwise_affine: bool | None = True

    def recurrence(self, index: int) -> Mixer:
        """Gated linear attention."""
        kv_heads = self.num_kv_heads or self.num_heads
        divides(kv_heads, "num_kv_heads", self.num_heads, "num_heads")
        sizes = self.sizes(self.num_heads // kv_heads)
        return fla_mixers.gated_linear(self.hidden_size, sizes, self.use_output_gate, bool(self.elementwise_affine))


class DeltaNet(Expanded):
    """DeltaNetForCausalLM."""

    expand_k: Ratio = 1.0
    num_heads: Size = 16
    use_short_conv: bool = True
    use_gate: bool = False
    use_beta: bool = True

    def recurrence(self, index: int) -> Mixer:
        """DeltaNet."""
        return fla_mixers.delta(self.hidden_size, self.sizes(), self.use_gate, self.use_beta)


class Grouped(Mixed):
    """num_heads heads of keys with head_dim channels, num_v_heads of values with expand_v times as many."""

    expand_v: Ratio
    head_dim: Size
    num_heads: Size
    num_v_heads: Size | None = None
    use_short_conv: bool = True
    conv_size: Taps = 4

    @property
    def sizes(self) -> Heads:
        """One memory for each head of values."""
        value_heads = self.num_v_heads or self.num_heads
        divides(self.num_heads, "num_heads", value_heads, "num_v_heads")
        value = whole(self.head_dim, self.expand_v, "expand_v")
        taps = self.conv_size if self.use_short_conv else None
        return Heads(value_heads, self.num_heads, value_heads, self.head_dim, value, self.num_heads, taps)


class GatedDeltaNet(Grouped):
    """GatedDeltaNetForCausalLM."""

    num_hidden_layers: Depth = 21
    expand_v: Ratio = 2.0
    head_dim: Size = 256
    num_heads: Size = 6
    use_gate: bool = True

    def recurrence(self, index: int) -> Mixer:
        """Gated DeltaNet."""
        return fla_mixers.gated_delta(self.hidden_size, self.sizes, self.use_gate)


class Kda(Grouped):
    """KDAForCausalLM."""

    expand_v: Ratio = 1.0
    head_dim: Size = 128
    num_heads: Size = 16

    def recurrence(self, index: int) -> Mixer:
        """Kimi Delta Attention."""
        return fla_mixers.kimi_delta(self.hidden_size, self.sizes)
