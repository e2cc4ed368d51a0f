"""mamba_ssm: full attention and Mamba-2 as MambaLMHeadModel, with a MambaConfig and pytorch_model.bin.

Layout: mamba_ssm 2.3, models/mixer_seq_simple.py, modules/{mamba2, mha, mlp, block}.py.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.architecture import Architecture, Attention, Mamba2
from l2m_design.architecture.mixers.base import CHUNK
from l2m_design.export.targets.base import Target, at_layer, first_refusal, state_dtype_reason, unlike
from l2m_design.settings import Json

MULTIPLE = 128  # mamba_ssm rounds the MLP's hidden size up to it
MAMBA_SSM = "mamba_ssm"
OUTER = {
    "embedding.weight": "backbone.embedding.weight",
    "norm.weight": "backbone.norm_f.weight",
    "head.weight": "lm_head.weight",
}
NAMES = {
    "mixer_norm.weight": "norm.weight",
    "mlp_norm.weight": "norm2.weight",
    "mlp.up.weight": "mlp.fc1.0",  # numbered parts are joined in `finished`, in their order
    "mlp.gate.weight": "mlp.fc1.1",
    "mlp.down.weight": "mlp.fc2.weight",
    "mixer.query.weight": "mixer.in_proj.0",
    "mixer.key.weight": "mixer.in_proj.1",
    "mixer.value.weight": "mixer.in_proj.2",
    "mixer.into.weight": "mixer.in_proj.weight",
    "mixer.conv.weight": "mixer.conv1d.weight",
    "mixer.conv.bias": "mixer.conv1d.bias",
    "mixer.norm.weight": "mixer.norm.weight",
    "mixer.out.weight": "mixer.out_proj.weight",
    "mixer.dt_bias": "mixer.dt_bias",
    "mixer.A_log": "mixer.A_log",
    "mixer.D": "mixer.D",
}


class MambaSsm(Target):
    """Mamba-2, full attention or both; attention may have a short convolution."""

    name = "mamba-ssm"
    format = "MambaLMHeadModel"
    model_type = "mamba_ssm"
    reader = "reading.py"

    def refusal(self, architecture: Architecture) -> str | None:
        """See Target."""
        attention = ("heads", "kv_heads", "head_dim", "rope_theta", "short_conv")
        ssm = ("d_state", "head_dim", "expand", "d_conv", "groups")
        if why := (
            first_refusal(architecture, self._reason)
            or unlike(architecture, Attention, attention, self.format)
            or unlike(architecture, Mamba2, ssm, self.format)
        ):
            return why
        layers = [(index, layer) for index, layer in enumerate(architecture.layers) if isinstance(layer, Attention)]
        for name in ("rope_theta", "short_conv"):
            for index, layer in layers:
                if (getattr(layer, name) is None) != (getattr(layers[0][1], name) is None):
                    return at_layer(
                        architecture, index, f"{self.format} needs {name} in all attention layers or in none"
                    )
        return None

    def _reason(self, layer: Any) -> str | None:
        if isinstance(layer, Attention):
            for name in ("window", "share"):
                if getattr(layer, name) is not None:
                    return f"{name} is not part of {self.format}"
            return f"qk_norm is not part of {self.format}" if layer.qk_norm else None
        if not isinstance(layer, Mamba2):
            return f"{self.format} has full attention and Mamba-2 only"
        return state_dtype_reason(layer, self.format)

    def label(self, architecture: Architecture) -> str:
        """See Target."""
        return MAMBA_SSM

    def limits(self, architecture: Architecture) -> list[str]:
        """See Target."""
        found = ["mamba_ssm runs on NVIDIA or AMD GPUs only", "It stores all states in the dtype of the weights"]
        if any(isinstance(layer, Attention) and layer.rope_theta is not None for layer in architecture.layers):
            found.append("Its rotary positions need flash-attn")
        if padded := -architecture.mlp.hidden(architecture.width) % MULTIPLE:
            found.append(f"{padded} hidden channels of every MLP are zeros: mamba_ssm needs a multiple of {MULTIPLE}")
        return found

    def config(self, architecture: Architecture, positions: int = 0) -> Json:
        """MambaConfig as JSON; no dtype or class is named in it."""
        return self.fields(architecture)

    def fields(self, architecture: Architecture) -> Json:
        """See Target."""
        attention = [index for index, layer in enumerate(architecture.layers) if isinstance(layer, Attention)]
        return {
            "d_model": architecture.width,
            "d_intermediate": -(-architecture.mlp.hidden(architecture.width) // MULTIPLE) * MULTIPLE,
            "n_layer": len(architecture.layers),
            "vocab_size": architecture.vocabulary,
            "ssm_cfg": next((_ssm(layer) for layer in architecture.layers if isinstance(layer, Mamba2)), {}),
            "attn_layer_idx": attention,
            "attn_cfg": next((_attention(layer) for layer in architecture.layers if isinstance(layer, Attention)), {}),
            "rms_norm": True,
            "residual_in_fp32": True,
            "fused_add_norm": True,
            "pad_vocab_size_multiple": 1,
            "tie_embeddings": architecture.tied_embeddings,
        }

    def weights(self, model: Any) -> dict[str, Tensor]:
        """See Target."""
        renamed: dict[str, Tensor] = {}
        for name, value in model.state_dict().items():
            if name in OUTER:
                renamed[OUTER[name]] = value
                continue
            _, index, inner = name.split(".", 2)
            for theirs, tensor in self.layer_weights(model.architecture.layers[int(index)], inner, value).items():
                renamed[f"backbone.layers.{index}.{theirs}"] = tensor
        return self.finished(renamed)

    def layer_weights(self, spec: Any, name: str, value: Tensor) -> dict[str, Tensor]:
        """See Target: a convolution has a bias there, and the MLP zeros up to its size."""
        if name == "mixer.conv.weight":
            bias = {"mixer.conv1d.bias": value.new_zeros(len(value))} if isinstance(spec, Attention) else {}
            return {NAMES[name]: value[:, None]} | bias
        if name.startswith("mlp."):
            axis = 1 if name == "mlp.down.weight" else 0
            missing = -value.shape[axis] % MULTIPLE
            value = F.pad(value, (0, missing) if axis else (0, 0, 0, missing))
        return {NAMES[name]: value}

    def finished(self, renamed: dict[str, Tensor]) -> dict[str, Tensor]:
        """See Target: parts become one matrix; the head is named even where it is the embedding."""
        stems = {name.rpartition(".")[0] for name in renamed if name.endswith(".0")}
        for stem in stems:
            parts = [renamed.pop(f"{stem}.{part}") for part in range(3) if f"{stem}.{part}" in renamed]
            renamed[f"{stem}.weight"] = torch.cat(parts)
        renamed.setdefault("lm_head.weight", renamed["backbone.embedding.weight"])
        return renamed

    def save(self, weights: dict[str, Tensor], folder: Path) -> None:
        """See Target: mamba_ssm reads this one file."""
        with (folder / "pytorch_model.bin").open("wb") as file:  # a path would turn a full disk into torch's own error
            torch.save({name: value.contiguous() for name, value in weights.items()}, file)


def _ssm(layer: Mamba2) -> Json:
    sizes = {"d_state": layer.d_state, "d_conv": layer.d_conv, "expand": layer.expand, "headdim": layer.head_dim}
    return {"layer": "Mamba2", "ngroups": layer.groups, "chunk_size": CHUNK} | sizes


def _attention(layer: Attention) -> Json:
    turned = layer.rope_theta is not None
    return {
        "causal": True,
        "num_heads": layer.heads,
        "num_heads_kv": layer.kv_heads,
        "head_dim": layer.head_dim,
        "d_conv": layer.short_conv or 0,
        "qkv_proj_bias": False,
        "out_proj_bias": False,
        "rotary_emb_dim": layer.head_dim if turned else 0,
        "rotary_emb_base": layer.rope_theta or 10000.0,
    }
