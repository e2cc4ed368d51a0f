"""Attention only: Llama, Mistral, SmolLM3 and Qwen3."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from l2m_design.architecture import Architecture, Attention
from l2m_design.export.targets.base import (
    BLOCK,
    NATIVE,
    NOT_LLAMA_CPP,
    Target,
    at_layer,
    first_refusal,
    plain_attention,
    rope,
    unlike,
)
from l2m_design.settings import Json

ATTENTION = {
    "mixer.query.weight": "self_attn.q_proj.weight",
    "mixer.key.weight": "self_attn.k_proj.weight",
    "mixer.value.weight": "self_attn.v_proj.weight",
    "mixer.out.weight": "self_attn.o_proj.weight",
    "mixer.query_norm.weight": "self_attn.q_norm.weight",
    "mixer.key_norm.weight": "self_attn.k_norm.weight",
}
NAMES = BLOCK | ATTENTION
SIZES = ("heads", "kv_heads", "head_dim", "rope_theta", "window")


@dataclass(frozen=True)
class AttentionTarget(Target):
    """A decoder of one kind of attention layer.

    windows: does no layer have one, every layer, or some (`some` takes all three). qk_norm: all layers or none.
    free_positions: may a layer be without rotary positions? even_width: must width be a multiple of heads?
    """

    name: str
    format: str
    model_type: str
    windows: Literal["no", "every", "some"]
    qk_norm: bool = False
    free_positions: bool = False
    even_width: bool = False

    def refusal(self, architecture: Architecture) -> str | None:
        """See Target."""
        heads = getattr(architecture.layers[0], "heads", 1)
        if why := first_refusal(architecture, self._reason) or unlike(architecture, Attention, SIZES, self.format):
            return why
        if self.even_width and architecture.width % heads:
            return at_layer(architecture, 0, f"{self.format} needs a width that is a multiple of heads ({heads})")
        return None

    def _reason(self, layer: Any) -> str | None:
        if not isinstance(layer, Attention):
            return f"{self.format} has attention only"
        if why := plain_attention(layer, self.format, self.qk_norm):
            return why
        if layer.rope_theta is None and not self.free_positions:
            return f"attention without positions is not part of {self.format}"
        if self.windows == "no" and layer.window is not None:
            return f"a window is not part of {self.format}"
        if self.windows == "every" and layer.window is None:
            return f"full attention beside a window is not part of {self.format}"
        return None

    def label(self, architecture: Architecture) -> str:
        """See Target: llama.cpp drops the windows of these, and has SmolLM3's layers in one fixed order."""
        windows = any(layer.window is not None for layer in self._layers(architecture))
        return NOT_LLAMA_CPP if windows or self.free_positions else NATIVE

    def fields(self, architecture: Architecture) -> Json:
        """See Target."""
        layers = self._layers(architecture)
        first = layers[0]
        theta = next((layer.rope_theta for layer in layers if layer.rope_theta is not None), 10000.0)
        window = next((layer.window for layer in layers if layer.window is not None), None)
        sizes = {"num_attention_heads": first.heads, "num_key_value_heads": first.kv_heads, "head_dim": first.head_dim}
        fields = sizes | rope(theta)
        if self.windows == "every":
            fields |= {"sliding_window": window}
        if self.windows == "some":
            kinds = ["full_attention" if layer.window is None else "sliding_attention" for layer in layers]
            fields |= {"layer_types": kinds, "use_sliding_window": window is not None, "sliding_window": window}
        if self.free_positions:
            fields |= {"no_rope_layers": [int(layer.rope_theta is not None) for layer in layers]}
        return fields

    def layer_weights(self, spec: Any, name: str, value: Tensor) -> dict[str, Tensor]:
        """See Target."""
        return {NAMES[name]: value}

    def _layers(self, architecture: Architecture) -> list[Attention]:
        return [layer for layer in architecture.layers if isinstance(layer, Attention)]


LLAMA = AttentionTarget("llama", "LlamaForCausalLM", "llama", "no", even_width=True)
MISTRAL = AttentionTarget("mistral", "MistralForCausalLM", "mistral", "every")
SMOLLM3 = AttentionTarget("smollm3", "SmolLM3ForCausalLM", "smollm3", "some", free_positions=True)
QWEN3 = AttentionTarget("qwen3", "Qwen3ForCausalLM", "qwen3", "some", qk_norm=True)
