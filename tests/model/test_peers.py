"""Our layers with the weights of transformers' own: written by others, they must compute the same."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from l2m_design.architecture import Attention, GatedDeltaNet, LatentAttention, Mamba1, Mamba2
from l2m_design.model.catalogue import build_mixer

WIDTH, LENGTH = 16, 80


def outputs(ours: Any, theirs: Any, **options: Any) -> tuple[Tensor, Tensor]:
    x = torch.randn(2, LENGTH, WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = theirs(x, **options)
        return ours(x, ours.empty(2))[0], found[0] if isinstance(found, tuple) else found


def take(ours: Any, weights: dict[str, Tensor]) -> None:
    """Every parameter of ours by the weight of theirs."""
    assert set(weights) == {name for name, _ in ours.named_parameters()}
    ours.load_state_dict(
        {name: value.detach().reshape(ours.state_dict()[name].shape) for name, value in weights.items()}
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_mamba2_is_transformers_mamba2(groups: int) -> None:
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    torch.manual_seed(0)
    config = transformers.Mamba2Config(
        hidden_size=WIDTH, num_heads=8, head_dim=4, state_size=6, n_groups=groups, expand=2, conv_kernel=4,
        chunk_size=16, num_hidden_layers=1, vocab_size=8, use_bias=False, use_conv_bias=True,
    )  # fmt: skip
    theirs, ours = Mamba2Mixer(config, layer_idx=0), build_mixer(Mamba2(d_state=6, head_dim=4, groups=groups), WIDTH)
    for name, value in theirs.named_parameters():
        if name in ("dt_bias", "D"):
            torch.nn.init.normal_(value)
    take(ours, {
        "into.weight": theirs.in_proj.weight, "conv.weight": theirs.conv1d.weight, "conv.bias": theirs.conv1d.bias,
        "dt_bias": theirs.dt_bias, "A_log": theirs.A_log, "D": theirs.D, "norm.weight": theirs.norm.weight,
        "out.weight": theirs.out_proj.weight,
    })  # fmt: skip
    torch.testing.assert_close(*outputs(ours, theirs), atol=1e-5, rtol=1e-4)


def test_mamba1_is_transformers_mamba() -> None:
    from transformers.models.mamba.modeling_mamba import MambaMixer

    torch.manual_seed(0)
    config = transformers.MambaConfig(
        hidden_size=WIDTH, state_size=5, expand=2, conv_kernel=4, time_step_rank=3, num_hidden_layers=1, vocab_size=8,
        use_bias=False, use_conv_bias=True,
    )  # fmt: skip
    theirs, ours = MambaMixer(config, layer_idx=0), build_mixer(Mamba1(d_state=5, dt_rank=3), WIDTH)
    for value in (theirs.dt_proj.bias, theirs.D):
        torch.nn.init.normal_(value)
    take(ours, {
        "into.weight": theirs.in_proj.weight, "conv.weight": theirs.conv1d.weight, "conv.bias": theirs.conv1d.bias,
        "selection.weight": theirs.x_proj.weight, "steps.weight": theirs.dt_proj.weight,
        "steps.bias": theirs.dt_proj.bias, "A_log": theirs.A_log, "D": theirs.D, "out.weight": theirs.out_proj.weight,
    })  # fmt: skip
    torch.testing.assert_close(*outputs(ours, theirs), atol=1e-5, rtol=1e-4)


def test_gated_deltanet_is_transformers_qwen3_next() -> None:
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    torch.manual_seed(0)
    config = transformers.Qwen3NextConfig(
        hidden_size=WIDTH, linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8,
        linear_value_head_dim=16, linear_conv_kernel_dim=4, num_hidden_layers=1, vocab_size=8, rms_norm_eps=1e-5,
    )  # fmt: skip
    theirs = Qwen3NextGatedDeltaNet(config, layer_idx=0)
    ours = build_mixer(GatedDeltaNet(heads=2, head_dim=8, value_expand=2), WIDTH)
    for value in (theirs.dt_bias, theirs.A_log):
        torch.nn.init.normal_(value)
    parts = theirs.in_proj_qkvz.weight.unflatten(0, (2, -1)).split([8, 8, 16, 16], dim=1)  # by head: q, k, v, gate
    query, key, value, gate = (part.flatten(0, 1) for part in parts)
    write, step = (part.flatten(0, 1) for part in theirs.in_proj_ba.weight.unflatten(0, (2, 2)).split(1, dim=1))
    take(ours, {
        "into.weight": torch.cat([query, key, value, gate, write, step]), "conv.weight": theirs.conv1d.weight,
        "dt_bias": theirs.dt_bias, "A_log": theirs.A_log, "norm.weight": theirs.norm.weight,
        "out.weight": theirs.out_proj.weight,
    })  # fmt: skip
    torch.testing.assert_close(*outputs(ours, theirs), atol=1e-5, rtol=1e-4)


def causal_mask(window: int | None = None) -> Tensor:
    behind = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    hidden = (behind < 0) | (behind >= (window or LENGTH))
    return torch.zeros(1, 1, LENGTH, LENGTH).masked_fill_(hidden, -torch.inf)


def test_qk_norm_is_qwen3s() -> None:
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3RotaryEmbedding

    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        hidden_size=WIDTH, num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_hidden_layers=1, vocab_size=8,
        rms_norm_eps=1e-5, attn_implementation="eager",
    )  # fmt: skip
    theirs = Qwen3Attention(config, layer_idx=0)
    ours = build_mixer(Attention(heads=4, kv_heads=2, head_dim=8, qk_norm=True), WIDTH)
    for norm in (theirs.q_norm, theirs.k_norm):
        torch.nn.init.normal_(norm.weight)
    take(ours, {
        "query.weight": theirs.q_proj.weight, "key.weight": theirs.k_proj.weight, "value.weight": theirs.v_proj.weight,
        "out.weight": theirs.o_proj.weight, "query_norm.weight": theirs.q_norm.weight,
        "key_norm.weight": theirs.k_norm.weight,
    })  # fmt: skip
    turn = Qwen3RotaryEmbedding(config)(torch.zeros(1, 1, 1), torch.arange(LENGTH)[None])
    found = outputs(ours, theirs, position_embeddings=turn, attention_mask=causal_mask())
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("q_rank", [None, 5])
def test_latent_attention_is_deepseeks(q_rank: int | None) -> None:
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention, DeepseekV3RotaryEmbedding

    torch.manual_seed(0)
    config = transformers.DeepseekV3Config(
        hidden_size=WIDTH, num_attention_heads=2, num_key_value_heads=2, q_lora_rank=q_rank, kv_lora_rank=6,
        qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=8, num_hidden_layers=1, vocab_size=8, rope_interleave=False,
        attn_implementation="eager", rms_norm_eps=1e-5,
    )  # fmt: skip
    theirs = DeepseekV3Attention(config, layer_idx=0)
    for norm in (theirs.kv_a_layernorm, *([theirs.q_a_layernorm] if q_rank else [])):
        norm.variance_epsilon = 1e-5
    ours = build_mixer(LatentAttention(heads=2, head_dim=8, kv_rank=6, rope_dim=4, q_rank=q_rank), WIDTH)
    up = theirs.kv_b_proj.weight.unflatten(0, (2, 16))  # by head: the key's part, the value
    weights = {
        "down.weight": theirs.kv_a_proj_with_mqa.weight, "latent_norm.weight": theirs.kv_a_layernorm.weight,
        "key_up.weight": up[:, :8].flatten(0, 1), "value_up.weight": up[:, 8:].flatten(0, 1),
        "out.weight": theirs.o_proj.weight,
    }  # fmt: skip
    if q_rank is None:
        weights["query.weight"] = theirs.q_proj.weight
    else:
        weights |= {
            "query_down.weight": theirs.q_a_proj.weight, "query_down_norm.weight": theirs.q_a_layernorm.weight,
            "query.weight": theirs.q_b_proj.weight,
        }  # fmt: skip
    take(ours, weights)
    turn = DeepseekV3RotaryEmbedding(config)(torch.zeros(1, 1, 1), torch.arange(LENGTH)[None])
    found = outputs(ours, theirs, position_embeddings=turn, attention_mask=causal_mask())
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)
