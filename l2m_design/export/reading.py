"""A plain reading of mamba_ssm's layout, run as a program of its own: config.json and pytorch_model.bin to logits.

Written after mamba_ssm 2.3 token by token, with nothing of this package, to hold exports against where mamba_ssm, which
needs a GPU, does not run.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5
Weights = dict[str, Tensor]
Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class Read(dict[str, Tensor]):
    """Weights that remember which of them were used."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self.used: set[str] = set()

    def take(self, name: str) -> Tensor:
        """One weight. Raises KeyError when it is not there."""
        self.used.add(name)
        return self[name]


class StateSpace(TypedDict):
    """ssm_cfg of config.json."""

    expand: int
    ngroups: int
    d_state: int
    headdim: int
    d_conv: int


class Attention(TypedDict):
    """attn_cfg of config.json."""

    head_dim: int
    num_heads: int
    num_heads_kv: int
    d_conv: int
    rotary_emb_dim: int
    rotary_emb_base: float


class Config(TypedDict):
    """config.json, as far as it is read."""

    n_layer: int
    d_model: int
    attn_layer_idx: list[int]
    attn_cfg: Attention
    ssm_cfg: StateSpace


def examine(folder: str, tokens: Tensor, scan: Scan | None = None) -> tuple[dict[str, object], Tensor]:
    """What is found in a folder, and the logits [b t v_] of tokens [b t]; scan: another form of the state space."""
    from transformers.modeling_utils import load_state_dict

    config: Config = json.loads((Path(folder) / "config.json").read_text())
    read = Read(load_state_dict(str(Path(folder) / "pytorch_model.bin"), weights_only=True))
    with torch.inference_mode():
        logits = forward(config, read, tokens, scan or recurrence)
    return {"format": "MambaLMHeadModel", "missing": [], "unexpected": sorted(set(read) - read.used)}, logits


def forward(config: Config, read: Read, tokens: Tensor, scan: Scan) -> Tensor:
    """MambaLMHeadModel: blocks of norm, mixer, norm2, mlp, both residual."""
    x = F.embedding(tokens, read.take("backbone.embedding.weight"))
    for index in range(config["n_layer"]):
        at = f"backbone.layers.{index}."
        z = norm(x, read.take(f"{at}norm.weight"))
        if index in config["attn_layer_idx"]:
            x = x + attention(config["attn_cfg"], read, f"{at}mixer.", z)
        else:
            x = x + mamba2(config["ssm_cfg"], config["d_model"], read, f"{at}mixer.", z, scan)
        up, gate = F.linear(norm(x, read.take(f"{at}norm2.weight")), read.take(f"{at}mlp.fc1.weight")).chunk(2, dim=-1)
        x = x + F.linear(up * F.silu(gate), read.take(f"{at}mlp.fc2.weight"))
    return F.linear(norm(x, read.take("backbone.norm_f.weight")), read.take("lm_head.weight"))


def norm(x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
    """RMSNorm over each of `groups` parts."""
    parts = x.unflatten(-1, (groups, -1))
    return (parts * torch.rsqrt(parts.pow(2).mean(-1, keepdim=True) + EPS)).flatten(-2) * weight


def convolved(x: Tensor, read: Read, at: str, taps: int) -> Tensor:
    """[b t c] by the causal depthwise convolution."""
    weight, bias = read.take(f"{at}conv1d.weight"), read.take(f"{at}conv1d.bias")
    y = F.conv1d(F.pad(x.transpose(1, 2), (taps - 1, 0)), weight, bias, groups=len(weight))
    return y.transpose(1, 2)


def mamba2(config: StateSpace, width: int, read: Read, at: str, x: Tensor, scan: Scan) -> Tensor:
    """mamba_ssm's Mamba2: in_proj is (z, x, B, C, dt)."""
    inner, groups, n = config["expand"] * width, config["ngroups"], config["d_state"]
    heads = inner // config["headdim"]
    spread = groups * n
    gate, mixed, dt = F.linear(x, read.take(f"{at}in_proj.weight")).split([inner, inner + 2 * spread, heads], dim=-1)
    mixed = F.silu(convolved(mixed, read, at, config["d_conv"]))
    values, B, C = mixed.split([inner, spread, spread], dim=-1)
    values = values.unflatten(-1, (heads, -1))
    B, C = (z.unflatten(-1, (groups, n)).repeat_interleave(heads // groups, dim=2) for z in (B, C))
    dt = F.softplus(dt + read.take(f"{at}dt_bias"))
    y = scan(values, dt, -read.take(f"{at}A_log").exp(), B, C) + read.take(f"{at}D")[:, None] * values
    y = norm(y.flatten(2) * F.silu(gate), read.take(f"{at}norm.weight"), groups)
    return F.linear(y, read.take(f"{at}out_proj.weight"))


def recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y [b t h p] of S <- exp(dt A) S + dt x B^T, y = S C; x [b t h p], dt [b t h], A [h], B and C [b t h n]."""
    state = x.new_zeros(*x.shape[:1], *x.shape[2:], B.shape[-1])
    out = []
    for t in range(x.shape[1]):
        step = dt[:, t, :, None, None]
        state = (step * A[:, None, None]).exp() * state + step * x[:, t, ..., None] * B[:, t, :, None]
        out.append((state * C[:, t, :, None]).sum(-1))
    return torch.stack(out, dim=1)


def attention(config: Attention, read: Read, at: str, x: Tensor) -> Tensor:
    """mamba_ssm's MHA: in_proj is (q, k, v), an optional convolution over all three, rotary halves as in flash_attn."""
    size, heads, kv_heads = config["head_dim"], config["num_heads"], config["num_heads_kv"]
    mixed = F.linear(x, read.take(f"{at}in_proj.weight"))
    if config["d_conv"]:
        mixed = convolved(mixed, read, at, config["d_conv"])
    parts = mixed.split([heads * size, kv_heads * size, kv_heads * size], dim=-1)
    query, key, value = (z.unflatten(-1, (-1, size)).transpose(1, 2) for z in parts)
    if config["rotary_emb_dim"]:
        query, key = (turned(z, config["rotary_emb_dim"], config["rotary_emb_base"]) for z in (query, key))
    key, value = (z.repeat_interleave(heads // kv_heads, dim=1) for z in (key, value))
    scores = query @ key.transpose(-1, -2) / math.sqrt(size)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    y = scores.masked_fill(future, -torch.inf).softmax(-1) @ value
    return F.linear(y.transpose(1, 2).flatten(2), read.take(f"{at}out_proj.weight"))


def turned(z: Tensor, dim: int, base: float) -> Tensor:
    """[b h t k] with the first `dim` channels rotated, halves paired."""
    rates = base ** -(torch.arange(0, dim, 2) / dim)
    angles = torch.arange(z.shape[2])[:, None] * rates
    first, second, rest = z[..., : dim // 2], z[..., dim // 2 : dim], z[..., dim:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)


def main(folder: str, question: str, answer: str) -> None:
    """Read tokens from question (.npy), write logits to answer (.npy), say what was found as JSON."""
    sys.modules["l2m_design"] = None  # type: ignore[assignment]
    found, logits = examine(folder, torch.from_numpy(np.load(question)))
    np.save(answer, logits.numpy())
    Path(answer).with_suffix(".json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:4])
