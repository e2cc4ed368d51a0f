"""Latent attention only: DeepseekV3ForCausalLM, every layer of it dense."""

from typing import Any

import torch
from torch import Tensor

from l2m_design.architecture import Architecture, LatentAttention
from l2m_design.export.targets.base import BLOCK, NORM_EPS, Target, first_refusal, plain_attention, rope, unlike
from l2m_design.settings import Json

FLOAT = 4  # bytes: exports are float32
LATENT_EPS = 1e-6  # of DeepSeek's norms of latents, whatever the config says
SIZES = ("heads", "head_dim", "kv_rank", "rope_dim", "q_rank", "rope_theta")
NAMES = BLOCK | {
    "mixer.query.weight": "self_attn.q_proj.weight",
    "mixer.query_down.weight": "self_attn.q_a_proj.weight",
    "mixer.query_down_norm.weight": "self_attn.q_a_layernorm.weight",
    "mixer.down.weight": "self_attn.kv_a_proj_with_mqa.weight",
    "mixer.latent_norm.weight": "self_attn.kv_a_layernorm.weight",
    "mixer.key_up.weight": "key_up",  # joined with value_up in `weights`
    "mixer.value_up.weight": "value_up",
    "mixer.out.weight": "self_attn.o_proj.weight",
}


class DeepSeek(Target):
    """MLA in every layer, all alike.

    Its norms of latents have an eps of their own: what goes into them is scaled by sqrt(LATENT_EPS / NORM_EPS), which
    is the same function. Rotary parts are interleaved, as its own weights are.
    """

    name = "deepseek"
    format = "DeepseekV3ForCausalLM"
    model_type = "deepseek_v3"

    def refusal(self, architecture: Architecture) -> str | None:
        """See Target."""
        if why := first_refusal(architecture, self._reason):
            return why
        bottlenecks = {layer.q_rank is None for layer in architecture.layers if isinstance(layer, LatentAttention)}
        if len(bottlenecks) > 1:
            return f"layers: q_rank in some layers only; {self.format} needs it in all or in none"
        return unlike(architecture, LatentAttention, SIZES, self.format)

    def _reason(self, layer: Any) -> str | None:
        if not isinstance(layer, LatentAttention):
            return f"{self.format} has latent attention only"
        if layer.rope_theta is None:
            return f"attention without positions is not part of {self.format}"
        return plain_attention(layer, self.format, qk_norm=False)

    def fields(self, architecture: Architecture) -> Json:
        """See Target."""
        first = self._first(architecture)
        return {
            "num_attention_heads": first.heads,
            "num_key_value_heads": first.heads,
            "q_lora_rank": first.q_rank,
            "kv_lora_rank": first.kv_rank,
            "qk_nope_head_dim": first.head_dim,
            "qk_rope_head_dim": first.rope_dim,
            "v_head_dim": first.head_dim,
            "rope_interleave": True,
            "first_k_dense_replace": len(architecture.layers),
            "num_nextn_predict_layers": 0,
            "n_routed_experts": 8,
            "num_experts_per_tok": 8,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 8,
        } | rope(first.rope_theta or 10000.0)

    def layer_weights(self, spec: Any, name: str, value: Tensor) -> dict[str, Tensor]:
        """See Target."""
        shrink = (LATENT_EPS / NORM_EPS) ** 0.5
        if name == "mixer.down.weight":
            latent, turned = value.split([spec.kv_rank, spec.rope_dim])
            value = torch.cat([latent * shrink, interleaved(turned)])
        elif name == "mixer.query_down.weight":
            value = value * shrink
        elif name == "mixer.query.weight":
            still, turned = value.unflatten(0, (spec.heads, -1)).split([spec.head_dim, spec.rope_dim], dim=1)
            value = torch.cat([still, interleaved(turned, dim=1)], dim=1).flatten(0, 1)
            if spec.q_rank is not None:
                return {"self_attn.q_b_proj.weight": value}
        elif name in ("mixer.key_up.weight", "mixer.value_up.weight"):
            value = value.unflatten(0, (spec.heads, -1))
        return {NAMES[name]: value}

    def finished(self, renamed: dict[str, Tensor]) -> dict[str, Tensor]:
        """See Target: a head's rows of keys and of values stand together."""
        for name in [name for name in renamed if name.endswith(".key_up")]:
            stem = name.removesuffix("key_up")
            both = torch.cat([renamed.pop(name), renamed.pop(f"{stem}value_up")], dim=1).flatten(0, 1)
            renamed[f"{stem}self_attn.kv_b_proj.weight"] = both
        return renamed

    def cache_bytes(self, architecture: Architecture, t: int) -> int:
        """See Target: before it kept latents, transformers kept expanded keys and values."""
        from transformers.models.deepseek_v3 import modeling_deepseek_v3 as theirs

        if hasattr(theirs.DeepseekV3Attention, "expand_kv"):
            return super().cache_bytes(architecture, t)
        first = self._first(architecture)
        return len(architecture.layers) * first.heads * (2 * first.head_dim + first.rope_dim) * t * FLOAT

    def _first(self, architecture: Architecture) -> LatentAttention:
        return next(layer for layer in architecture.layers if isinstance(layer, LatentAttention))


def interleaved(rows: Tensor, dim: int = 0) -> Tensor:
    """Rows of the two halves of rotary pairs -> pairs side by side."""
    first, second = rows.chunk(2, dim=dim)
    return torch.stack([first, second], dim=dim + 1).flatten(dim, dim + 1)
