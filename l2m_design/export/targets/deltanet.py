"""Full attention and gated DeltaNet: Qwen3_5ForCausalLM, its text decoder."""

from typing import Any

import torch
from torch import Tensor

from l2m_design.architecture import Architecture, Attention, GatedDeltaNet
from l2m_design.export.targets.attention import ATTENTION
from l2m_design.export.targets.base import (
    BLOCK,
    Target,
    first_refusal,
    lacks,
    plain_attention,
    rotation,
    state_dtype_reason,
    unlike,
)
from l2m_design.settings import Json

NAMES = BLOCK | ATTENTION
DELTA = {
    "mixer.conv.weight": "linear_attn.conv1d.weight",
    "mixer.norm.weight": "linear_attn.norm.weight",
    "mixer.out.weight": "linear_attn.out_proj.weight",
    "mixer.dt_bias": "linear_attn.dt_bias",
    "mixer.A_log": "linear_attn.A_log",
}
ABOVE_ONE = ("mixer_norm.weight", "mlp_norm.weight", "mixer.query_norm.weight", "mixer.key_norm.weight")


class Qwen35(Target):
    """Gated DeltaNet, and full attention with qk_norm, whose output gate is held open by zero weights.

    The gate is sigmoid(0) = 1/2 at every token, and the output projection twice ours: the same function.
    """

    name = "qwen3_5"
    format = "Qwen3_5ForCausalLM"
    model_type = "qwen3_5_text"

    def refusal(self, architecture: Architecture) -> str | None:
        """See Target."""
        if why := first_refusal(architecture, self._reason) or lacks(
            architecture, (Attention, GatedDeltaNet), self.format
        ):
            return why
        attention = ("heads", "kv_heads", "head_dim", "rope_theta")
        delta = ("heads", "head_dim", "value_expand", "d_conv")
        return unlike(architecture, Attention, attention, self.format) or unlike(
            architecture, GatedDeltaNet, delta, self.format
        )

    def _reason(self, layer: Any) -> str | None:
        if isinstance(layer, GatedDeltaNet):
            return state_dtype_reason(layer, self.format)
        if not isinstance(layer, Attention):
            return f"{self.format} has full attention and gated DeltaNet only"
        if layer.window is not None:
            return f"a window is not part of {self.format}"
        if layer.rope_theta is None:
            return f"attention without positions is not part of {self.format}"
        return plain_attention(layer, self.format, qk_norm=True)

    def limits(self, architecture: Architecture) -> list[str]:
        """See Target."""
        return [
            "The output gates of its attention layers are constant (zero weights); further training would change them"
        ]

    def fields(self, architecture: Architecture) -> Json:
        """See Target."""
        attention = next(layer for layer in architecture.layers if isinstance(layer, Attention))
        delta = next(layer for layer in architecture.layers if isinstance(layer, GatedDeltaNet))
        kinds = [
            "full_attention" if isinstance(layer, Attention) else "linear_attention" for layer in architecture.layers
        ]
        theta = attention.rope_theta or 10000.0
        third = attention.head_dim // 6  # of the pairs: text has one position for all three parts
        rotary = rotation(theta) | {
            "partial_rotary_factor": 1.0,
            "mrope_interleaved": True,
            "mrope_section": [attention.head_dim // 2 - 2 * third, third, third],
        }
        return {
            "rope_theta": theta,
            "rope_parameters": rotary,
            "num_attention_heads": attention.heads,
            "num_key_value_heads": attention.kv_heads,
            "head_dim": attention.head_dim,
            "partial_rotary_factor": 1.0,
            "layer_types": kinds,
            "linear_conv_kernel_dim": delta.d_conv,
            "linear_key_head_dim": delta.head_dim,
            "linear_value_head_dim": delta.value_dim,
            "linear_num_key_heads": delta.heads,
            "linear_num_value_heads": delta.heads,
        }

    def layer_weights(self, spec: Any, name: str, value: Tensor) -> dict[str, Tensor]:
        """See Target: its norms hold what they are above 1."""
        if isinstance(spec, GatedDeltaNet) and name == "mixer.into.weight":
            gated = spec.heads * spec.value_dim
            parts = value.split([spec.convolved, gated, spec.heads, spec.heads])
            ends = ("qkv", "z", "b", "a")
            return {f"linear_attn.in_proj_{end}.weight": part for end, part in zip(ends, parts, strict=True)}
        if isinstance(spec, GatedDeltaNet) and name in DELTA:
            return {DELTA[name]: value[:, None] if name == "mixer.conv.weight" else value}
        if name in ABOVE_ONE:
            return {NAMES[name]: value - 1}
        if name == "mixer.query.weight":
            heads = value.unflatten(0, (spec.heads, -1))
            return {NAMES[name]: torch.cat([heads, torch.zeros_like(heads)], dim=1).flatten(0, 1)}
        return {NAMES[name]: 2 * value if name == "mixer.out.weight" else value}

    def finished(self, renamed: dict[str, Tensor]) -> dict[str, Tensor]:
        """See Target."""
        return renamed | {"model.norm.weight": renamed["model.norm.weight"] - 1}
