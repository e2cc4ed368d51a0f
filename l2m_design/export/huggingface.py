"""Hugging Face export: full or windowed attention as LlamaForCausalLM or MistralForCausalLM, proven by loading back."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l2m_design.architecture import Architecture, Attention
from l2m_design.errors import BadInput
from l2m_design.model import LanguageModel, build
from l2m_design.model.weights import load_weights

NORM_EPS = 1e-5
TOLERANCE = 1e-4
NAMES = {
    "mixer_norm": "input_layernorm",
    "mixer.query": "self_attn.q_proj",
    "mixer.key": "self_attn.k_proj",
    "mixer.value": "self_attn.v_proj",
    "mixer.out": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}


def hub_config(architecture: Architecture) -> Any:
    """The transformers config that says the same as the drawing. Raises BadInput naming the layer that has none."""
    from transformers import LlamaConfig, MistralConfig

    first = architecture.layers[0]
    for index, layer in enumerate(architecture.layers):
        reason = _reason(layer, first)
        if reason:
            raise BadInput(
                f"--to huggingface: layers.{index} ({layer.kind}): {reason}; --to card carries every drawing"
            )
    assert isinstance(first, Attention)
    common = {
        "vocab_size": architecture.vocabulary,
        "hidden_size": architecture.width,
        "intermediate_size": architecture.mlp.hidden(architecture.width),
        "num_hidden_layers": len(architecture.layers),
        "num_attention_heads": first.heads,
        "num_key_value_heads": first.kv_heads,
        "head_dim": first.head_dim,
        "rms_norm_eps": NORM_EPS,
        "tie_word_embeddings": architecture.tied_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": first.rope_theta},
    }
    if first.window is None:
        return LlamaConfig(**common)
    return MistralConfig(**common, sliding_window=first.window)


def _reason(layer: Any, first: Any) -> str | None:
    """Why a layer cannot be told in this format, if it cannot."""
    if not isinstance(layer, Attention):
        return "no Hugging Face class of this version's targets holds it"
    for option in ("qk_norm", "short_conv", "sinks"):
        if getattr(layer, option):
            return f"{option} is not part of Llama or Mistral"
    if layer.share is not None or layer.rope_theta is None:
        option = "a shared cache" if layer.share is not None else "attention without positions"
        return f"{option} is not part of Llama or Mistral"
    return None if layer == first else "differs from layer 0, Llama and Mistral have one kind of layer"


def hub_state(model: LanguageModel) -> dict[str, Tensor]:
    """The model's weights under transformers' names."""
    renamed = {}
    for name, value in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "blocks":
            index, _, inner = rest.partition(".")
            stem = inner.removesuffix(".weight")
            renamed[f"model.layers.{index}.{NAMES[stem]}.weight"] = value
        else:
            renamed[{"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}[part] + ".weight"] = (
                value
            )
    if model.head is None:
        renamed["lm_head.weight"] = model.embedding.weight
    return renamed


def export_huggingface(architecture: Architecture, folder: Path, weights: Path | None, seed: int) -> dict[str, Any]:
    """Write config.json and model.safetensors, load them back, compare logits. Raises RuntimeError when they differ."""
    from transformers import AutoModelForCausalLM

    config, first = hub_config(architecture), architecture.layers[0]
    torch.manual_seed(seed)
    model = (load_weights(architecture, weights) if weights else build(architecture)).eval()
    theirs = AutoModelForCausalLM.from_config(config)
    theirs.load_state_dict(hub_state(model))
    theirs.save_pretrained(folder)
    again = AutoModelForCausalLM.from_pretrained(folder).eval()
    generator, longest = torch.Generator().manual_seed(0), max(getattr(first, "window", None) or 0, 64) + 32
    tokens = torch.randint(0, architecture.vocabulary, (2, min(longest, 4096)), generator=generator)
    with torch.inference_mode():
        difference = float((again(tokens).logits - model(tokens)).abs().max())
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{folder}: loaded back, its logits differ by {difference:.2g}")
    files = sorted(str(path) for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    return {"files": files, "format": type(again).__name__, "loads": True, "max_logit_difference": difference}
