"""Tiny hybrid models with random weights: recurrent layers and attention in turn."""

from typing import Any

import torch

COMMON = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
DELTA = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_value_heads": 4}
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8}
TURNS = ["linear_attention", "full_attention"] * 2
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
HYBRIDS: dict[str, dict[str, Any]] = {
    "Lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "Qwen3Next": DELTA
    | EXPERTS
    | {"head_dim": 16, "layer_types": TURNS, "linear_num_key_heads": 2, "shared_expert_intermediate_size": 32},
    "OlmoHybrid": DELTA | {"layer_types": TURNS, "linear_num_key_heads": 4},
    "GraniteMoeHybrid": MAMBA2
    | {"layer_types": TURNS, "num_local_experts": 0, "shared_intermediate_size": 64, "position_embedding_type": "rope"},
    "Bamba": MAMBA2 | {"attn_layer_indices": [1, 3]},
}


def hybrid(kind: str) -> Any:
    """One of HYBRIDS."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**COMMON, **HYBRIDS[kind])
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()
