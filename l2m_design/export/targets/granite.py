"""Full attention and Mamba-2: GraniteMoeHybridForCausalLM without experts."""

from typing import Any

import torch
from torch import Tensor

from l2m_design.architecture import Architecture, Attention, Mamba2
from l2m_design.architecture.mixers.base import CHUNK
from l2m_design.export.targets.attention import ATTENTION
from l2m_design.export.targets.base import (
    NATIVE,
    NOT_LLAMA_CPP,
    Target,
    at_layer,
    first_refusal,
    lacks,
    plain_attention,
    rope,
    state_dtype_reason,
    unlike,
)
from l2m_design.settings import Json

NAMES = ATTENTION | {
    "mixer_norm.weight": "input_layernorm.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    "mlp.gate.weight": "gate",  # joined with up in `finished`
    "mlp.up.weight": "up",
    "mlp.down.weight": "shared_mlp.output_linear.weight",
}
MAMBA = {
    "mixer.into.weight": "mamba.in_proj.weight",
    "mixer.conv.weight": "mamba.conv1d.weight",
    "mixer.conv.bias": "mamba.conv1d.bias",
    "mixer.norm.weight": "mamba.norm.weight",
    "mixer.out.weight": "mamba.out_proj.weight",
    "mixer.dt_bias": "mamba.dt_bias",
    "mixer.A_log": "mamba.A_log",
    "mixer.D": "mamba.D",
}


class Granite(Target):
    """At least one layer of full attention, the others Mamba-2."""

    name = "granite"
    format = "GraniteMoeHybridForCausalLM"
    model_type = "granitemoehybrid"

    def refusal(self, architecture: Architecture) -> str | None:
        """See Target."""
        if why := first_refusal(architecture, self._reason) or lacks(architecture, (Attention, Mamba2), self.format):
            return why
        attention = ("heads", "kv_heads", "head_dim", "rope_theta")
        ssm = ("d_state", "head_dim", "expand", "d_conv")
        if why := unlike(architecture, Attention, attention, self.format) or unlike(
            architecture, Mamba2, ssm, self.format
        ):
            return why
        turned = [layer.rope_theta is None for layer in architecture.layers if isinstance(layer, Attention)]
        if len(set(turned)) > 1:
            index = next(
                i
                for i, layer in enumerate(architecture.layers)
                if isinstance(layer, Attention) and (layer.rope_theta is None) != turned[0]
            )
            return at_layer(
                architecture, index, f"{self.format} needs rotary positions in all attention layers or in none"
            )
        return None

    def _reason(self, layer: Any) -> str | None:
        if isinstance(layer, Attention):
            if layer.window is not None:
                return f"a window is not part of {self.format}"
            return plain_attention(layer, self.format, qk_norm=False)
        if not isinstance(layer, Mamba2):
            return f"{self.format} has full attention and Mamba-2 only"
        if layer.groups != 1:
            return f"groups ({layer.groups}): values other than 1 give wrong results in some versions of {self.format}"
        return state_dtype_reason(layer, self.format)

    def label(self, architecture: Architecture) -> str:
        """See Target: llama.cpp drops rotary positions beside Mamba-2, and takes head_dim from the width."""
        attention, _ = self._kinds(architecture)
        even = attention.heads * attention.head_dim == architecture.width
        return NATIVE if attention.rope_theta is None and even else NOT_LLAMA_CPP

    def limits(self, architecture: Architecture) -> list[str]:
        """See Target."""
        attention, _ = self._kinds(architecture)
        if attention.heads * attention.head_dim == architecture.width:
            return []
        return [
            f"heads x head_dim ({attention.heads * attention.head_dim}) is not the width ({architecture.width}): "
            "software that computes head_dim from the width, such as transformers 4.57, refuses it"
        ]

    def fields(self, architecture: Architecture) -> Json:
        """See Target."""
        attention, ssm = self._kinds(architecture)
        kinds = ["attention" if isinstance(layer, Attention) else "mamba" for layer in architecture.layers]
        hidden = architecture.mlp.hidden(architecture.width)
        turned = attention.rope_theta is not None
        return {
            "num_attention_heads": attention.heads,
            "num_key_value_heads": attention.kv_heads,
            "head_dim": attention.head_dim,
            "layer_types": kinds,
            "shared_intermediate_size": hidden,
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
            "attention_multiplier": attention.head_dim**-0.5,
            "embedding_multiplier": 1.0,
            "residual_multiplier": 1.0,
            "logits_scaling": 1.0,
            "position_embedding_type": "rope" if turned else None,
            "mamba_n_heads": ssm.heads(architecture.width),
            "mamba_d_head": ssm.head_dim,
            "mamba_d_state": ssm.d_state,
            "mamba_n_groups": 1,
            "mamba_d_conv": ssm.d_conv,
            "mamba_expand": ssm.expand,
            "mamba_chunk_size": CHUNK,
            "mamba_conv_bias": True,
            "mamba_proj_bias": False,
        } | rope(attention.rope_theta or 10000.0)

    def layer_weights(self, spec: Any, name: str, value: Tensor) -> dict[str, Tensor]:
        """See Target."""
        if isinstance(spec, Mamba2) and name in MAMBA:
            return {MAMBA[name]: value[:, None] if name == "mixer.conv.weight" else value}
        return {NAMES[name]: value}

    def finished(self, renamed: dict[str, Tensor]) -> dict[str, Tensor]:
        """See Target: gate and up are one matrix, in this order."""
        for name in [name for name in renamed if name.endswith(".gate")]:
            stem = name.removesuffix("gate")
            both = torch.cat([renamed.pop(name), renamed.pop(f"{stem}up")])
            renamed[f"{stem}shared_mlp.input_linear.weight"] = both
        return renamed

    def _kinds(self, architecture: Architecture) -> tuple[Attention, Mamba2]:
        attention = next(layer for layer in architecture.layers if isinstance(layer, Attention))
        return attention, next(layer for layer in architecture.layers if isinstance(layer, Mamba2))
