"""Published decoders of attention whose MLPs are experts, of which a token passes a few."""

from pydantic import AliasChoices, Field

from l2m_design.architecture.readers.attention import Biased, Grouped, Qwen3
from l2m_design.architecture.readers.config import FULL, SLIDING, Config, Count, Indices, Size
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

    def experts(self, hidden: int, router: int | None = None) -> Weights:
        """The routed experts of a layer with `hidden` channels each, and their router (without bias by default)."""
        size = self.num_experts * self.hidden_size if router is None else router
        return Weights.gated(self.hidden_size, hidden).experts(self.num_experts, self.chosen, size)


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


class GptOss(Biased, Sparse):
    """GptOssForCausalLM: windows in every other layer, a sink for each head, experts with biases."""

    def kind(self, index: int) -> str:
        """A window first, then full attention, in turns."""
        return SLIDING if (index + 1) % 2 else FULL

    def mixer(self, index: int, kind: str) -> Mixer:
        """Attention with a sink for each head."""
        return super().mixer(index, kind).with_more(self.num_attention_heads)

    def feed(self, index: int, kind: str) -> Weights:
        """Experts with biases."""
        router = linear(self.hidden_size, self.num_experts, bias=True)
        each = Weights.gated(self.hidden_size, self.intermediate_size, bias=True)
        return each.experts(self.num_experts, self.chosen, router)
