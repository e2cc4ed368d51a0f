"""Published state space models: Mamba, Falcon-Mamba, Mamba-2, and mamba_ssm's own configs, attention included."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from l2m_design.architecture.readers.config import (
    FULL,
    LINEAR,
    Auto,
    Config,
    Count,
    Depth,
    Indices,
    Lenient,
    Size,
    Taps,
    divides,
)
from l2m_design.architecture.readers.mixers import Attention, Mamba1, Mixer, StateSpace, Weights, linear
from l2m_design.architecture.readers.runtimes import Columns


class Pure(Config):
    """State spaces alone: a norm and a mixer in each layer, no MLP."""

    norms: ClassVar[int] = 1
    known: ClassVar[tuple[str, ...]] = (LINEAR,)

    state_size: Size
    num_hidden_layers: Depth
    expand: Size
    conv_kernel: Taps
    use_bias: bool
    use_conv_bias: bool

    @property
    def depth(self) -> int:
        """num_hidden_layers."""
        return self.num_hidden_layers

    @property
    def d_state(self) -> int | None:
        """state_size."""
        return self.state_size

    def with_d_state(self, size: int) -> Self:
        """With another state_size."""
        return self.model_copy(update={"state_size": size})

    def kind(self, index: int) -> str:
        """A state space."""
        return LINEAR

    def feed(self, index: int, kind: str) -> Weights:
        """None."""
        return Weights.dense(0)


class Mamba(Pure):
    """MambaForCausalLM. intermediate_size: channels inside, expand times the width where it is not given."""

    time_step_rank: Auto = None
    intermediate_size: Size | None = None

    def mixer(self, index: int, kind: str) -> Mixer:
        """Mamba-1."""
        return Mamba1(
            self.intermediate_size or self.expand * self.hidden_size,
            self.state_size,
            self.conv_kernel,
            self.time_step_rank or -(-self.hidden_size // 16),
            bias=self.use_bias,
            conv_bias=self.use_conv_bias,
        ).mixer(self.hidden_size)


class FalconMamba(Mamba):
    """FalconMambaForCausalLM: norms of dt, B and C without weights."""


class Mamba2(Pure):
    """Mamba2ForCausalLM."""

    num_heads: Size
    head_dim: Size
    n_groups: Size

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.num_heads * self.head_dim != self.expand * self.hidden_size:
            raise ValueError(
                f"num_heads x head_dim ({self.num_heads * self.head_dim}) must be expand x hidden_size "
                f"({self.expand * self.hidden_size})"
            )
        divides(self.n_groups, "n_groups", self.num_heads, "num_heads")
        return self

    def mixer(self, index: int, kind: str) -> Mixer:
        """Mamba-2."""
        return StateSpace(
            self.num_heads,
            self.head_dim,
            self.n_groups,
            self.state_size,
            self.conv_kernel,
            bias=self.use_bias,
            out_bias=self.use_bias,
            conv_bias=self.use_conv_bias,
        ).mixer(self.hidden_size)


class SsmCfg(Lenient):
    """ssm_cfg of mamba_ssm: what its Mamba or Mamba2 module is built with."""

    layer: Literal["Mamba1", "Mamba2"] = "Mamba1"
    d_state: Size | None = None
    d_conv: Taps = 4
    expand: Size = 2
    bias: bool = False
    conv_bias: bool = True
    dt_rank: Auto = None
    headdim: Size = 64
    ngroups: Size = 1
    d_ssm: Size | None = None
    rmsnorm: bool = True

    def mixer(self, width: int) -> Mixer:
        """The module at this width."""
        inner = self.expand * width
        if self.layer == "Mamba1":
            rank, state = self.dt_rank or -(-width // 16), self.d_state or 16
            return Mamba1(inner, state, self.d_conv, rank, bias=self.bias, conv_bias=self.conv_bias).mixer(width)
        scanned = self.d_ssm or inner
        divides(self.headdim, "ssm_cfg.headdim", scanned, "d_ssm or expand x d_model")
        if scanned > inner:
            raise ValueError(f"ssm_cfg.d_ssm ({scanned}) must be at most expand x d_model ({inner})")
        return StateSpace(
            scanned // self.headdim,
            self.headdim,
            self.ngroups,
            self.d_state or 128,
            self.d_conv,
            bias=self.bias,
            out_bias=self.bias,
            conv_bias=self.conv_bias,
            normed=self.rmsnorm,
            beside=inner - scanned,
        ).mixer(width)


class AttnCfg(Lenient):
    """attn_cfg of mamba_ssm: what its MHA module is built with; mlp_dim: of a gated MLP beside the heads."""

    num_heads: Size | None = None
    num_heads_kv: Size | None = None
    head_dim: Size | None = None
    mlp_dim: Count = 0
    qkv_proj_bias: bool = True
    out_proj_bias: bool = True
    d_conv: Annotated[int, Field(ge=0, le=1024)] = 0

    def mixer(self, width: int) -> Mixer:
        """The module at this width; its convolution passes queries, keys and values."""
        if self.num_heads is None:
            raise ValueError("attn_cfg.num_heads: required by the layers of attn_layer_idx, found none")
        heads, kv_heads = self.num_heads, self.num_heads_kv or self.num_heads
        divides(kv_heads, "attn_cfg.num_heads_kv", heads, "num_heads")
        if self.head_dim is None:
            divides(heads, "attn_cfg.num_heads", width, "d_model")
        head_dim = self.head_dim or width // heads
        mixer = Attention(heads, kv_heads, head_dim, bias=self.qkv_proj_bias, out_bias=self.out_proj_bias).mixer(width)
        beside = -(-self.mlp_dim // 256) * 256
        mixer = mixer.with_more(linear(width, beside, self.qkv_proj_bias) + beside // 2 * width)
        if not self.d_conv:
            return mixer
        channels = head_dim * (heads + 2 * kv_heads)
        return mixer.with_more(channels * (self.d_conv + 1)).keeping(Columns(channels, self.d_conv, "attention"))


class MambaSsm(Config):
    """MambaLMHeadModel of mamba_ssm 2.2; an MLP of d_intermediate channels, rounded up to 128s, where it is not 0."""

    own_runtime: ClassVar[str] = "mamba-ssm"
    norms: ClassVar[int] = 1
    known: ClassVar[tuple[str, ...]] = (LINEAR, FULL)

    model_type: str = "mamba_ssm"
    vocab_size: Size = 50277
    hidden_size: Size = Field(default=2560, validation_alias=AliasChoices("d_model", "hidden_size"))
    num_hidden_layers: Depth = Field(default=64, validation_alias=AliasChoices("n_layer", "num_hidden_layers"))
    tie_word_embeddings: bool = Field(
        default=True, validation_alias=AliasChoices("tie_embeddings", "tie_word_embeddings")
    )
    d_intermediate: Count = 0
    ssm_cfg: SsmCfg = SsmCfg()
    attn_layer_idx: Indices = Field(default_factory=list)
    attn_cfg: AttnCfg = AttnCfg()
    rms_norm: bool = True
    pad_vocab_size_multiple: Size = 8

    @property
    def depth(self) -> int:
        """n_layer."""
        return self.num_hidden_layers

    @property
    def d_state(self) -> int | None:
        """ssm_cfg.d_state."""
        return self.ssm_cfg.d_state or (16 if self.ssm_cfg.layer == "Mamba1" else 128)

    def with_d_state(self, size: int) -> Self:
        """With another ssm_cfg.d_state."""
        return self.model_copy(update={"ssm_cfg": self.ssm_cfg.model_copy(update={"d_state": size})})

    @property
    def norm(self) -> int:
        """A scale, and a shift where it is no RMSNorm."""
        return self.hidden_size * (1 if self.rms_norm else 2)

    def kind(self, index: int) -> str:
        """Attention where attn_layer_idx says so."""
        return FULL if index in self.attn_layer_idx else LINEAR

    def mixer(self, index: int, kind: str) -> Mixer:
        """The module of ssm_cfg or that of attn_cfg."""
        return (self.attn_cfg if kind == FULL else self.ssm_cfg).mixer(self.hidden_size)

    def feed(self, index: int, kind: str) -> Weights:
        """A gated MLP and its norm, if there is one."""
        if not self.d_intermediate:
            return Weights.dense(0)
        return Weights.gated(self.hidden_size, -(-self.d_intermediate // 128) * 128) + Weights.dense(self.norm)

    @property
    def outside(self) -> int:
        """With the vocabulary rounded up to pad_vocab_size_multiple."""
        padded = -(-self.vocab_size // self.pad_vocab_size_multiple) * self.pad_vocab_size_multiple
        return super().outside + (padded - self.vocab_size) * self.hidden_size * (1 if self.tie_word_embeddings else 2)
