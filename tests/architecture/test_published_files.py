"""Files of published models: whose layers they tell of, and what they say in other words."""

import json
from pathlib import Path
from typing import Any

import pytest

from l2m_design.architecture.readers import published
from l2m_design.errors import BadInput

DEEPSEEK_V3 = {"model_type": "deepseek_v3", "num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
LLAMA = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 99}


def test_layers_that_stand_in_a_file_beside_the_config_are_not_judged_as_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert published(tmp_path).picture == "A A"
    (tmp_path / "mamba_config.json").write_text(json.dumps({"d_model": 64, "n_layer": 2, "attn_layers": []}))
    for path in (tmp_path, tmp_path / "config.json"):
        with pytest.raises(BadInput, match=r"mamba_config\.json lies beside it"):
            published(path)


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("modeling_llama.LlamaForCausalLM", True),
        ("org/repo--modeling_llama.LlamaForCausalLM", True),
        ("modeling_hybrid.MambaInLlamaForCausalLM", False),
        ("modeling_linear.LlamaLinearForCausalLM", False),
        ("evil.Model", False),
    ],
)
def test_code_of_its_own_under_the_type_of_another_is_refused(tmp_path: Path, code: str, ours: bool) -> None:
    config = LLAMA | {"auto_map": {"AutoConfig": "x.Config", "AutoModelForCausalLM": code}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    if ours:
        assert published(tmp_path).picture == "A A"
    else:
        with pytest.raises(BadInput, match="auto_map: its code"):
            published(tmp_path)


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, None),
        ({"architectures": ["LlamaForSequenceClassification"]}, None),
        ({"architectures": ["LLaMAForCausalLM"]}, None),
        ({"architectures": ["LlamaLinearForCausalLM"]}, "architectures: its code"),
        ({"architectures": ["MambaInLlamaForCausalLM"]}, "architectures: its code"),
        ({"auto_map": {"AutoConfig": "configuration_x.XConfig"}}, "auto_map: its code"),
        ({"auto_map": {"AutoModelForSequenceClassification": "modeling_x.XForSequenceClassification"}}, "auto_map"),
        ({"auto_map": {"AutoModelForCausalLM": ["modeling_x.XForCausalLM", None]}}, "auto_map: its code"),
        ({"auto_map": {"AutoTokenizer": ["tokenization_x.XTokenizer", None]}}, None),
    ],
)
def test_a_class_of_another_name_may_keep_something_else(changed: dict[str, Any], refused: str | None, write) -> None:
    if refused is None:
        assert published(write(LLAMA | changed)).picture == "A A"
    else:
        with pytest.raises(BadInput, match=refused):
            published(write(LLAMA | changed))


def test_classes_are_known_by_their_types(write) -> None:
    hunyuan = {"model_type": "hunyuan_v1_dense", "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
               "num_key_value_heads": 4, "head_dim": 16, "architectures": ["HunYuanDenseV1ForCausalLM"]}  # fmt: skip
    assert published(write(hunyuan)).picture == "A"
    kimi = DEEPSEEK_V3 | {"model_type": "kimi_k2", "architectures": ["DeepseekV3ForCausalLM"]}
    assert published(write(kimi)).picture == "61 x L"
    with pytest.raises(BadInput, match="linear_attn_config: required for model_type kimi_linear"):
        published(write(DEEPSEEK_V3 | {"model_type": "kimi_linear"}))


def test_a_config_of_replaced_layers_by_itself_is_refused(write) -> None:
    with pytest.raises(BadInput, match="attn_layers, d_xb"):
        published(write({"d_model": 64, "n_layer": 2, "vocab_size": 99, "attn_layers": [1], "d_xb": 32}))


def test_windows_are_held_against_stretched_positions(write) -> None:
    config = LLAMA | {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1,
                      "max_position_embeddings": 64, "num_key_value_heads": 4}  # fmt: skip
    assert published(write(config)).picture == "A A"
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    stretched = published(write(config | {"rope_scaling": yarn}))
    assert (stretched.picture, stretched.positions) == ("A W", 256)


def test_dtypes_that_a_file_names_are_told(write) -> None:
    notes = published(
        write(LLAMA | {"torch_dtype": "float32", "quantization_config": {"kv_cache_scheme": {"type": "float"}}})
    ).notes
    assert any("says float32; bytes are counted in `dtype`" in note for note in notes)
    assert any("give `kv_dtype` float8 to count it so" in note for note in notes)


def test_sizes_written_as_whole_floats_are_sizes(tmp_path: Path) -> None:
    floats = {key: float(value) if isinstance(value, int) else value for key, value in LLAMA.items()}
    (tmp_path / "config.json").write_text(json.dumps(floats))
    whole = published(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert (whole.state, whole.parameters) == (published(tmp_path).state, published(tmp_path).parameters)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"num_hidden_layers": 2.5}))
    with pytest.raises(BadInput, match="num_hidden_layers"):
        published(tmp_path)


KIMI = {
    "model_type": "kimi_k2", "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 64,
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 384, "num_experts_per_tok": 8,
    "n_shared_experts": 1, "first_k_dense_replace": 1, "vocab_size": 163840, "max_position_embeddings": 131072,
}  # fmt: skip


def test_kimi_k2_is_of_the_form_of_deepseek_v3_alone_and_wrapped(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(KIMI))
    alone = published(tmp_path)
    assert {layer.letter for layer in alone.layers} == {"L"}
    assert alone.state.bytes_per_token(65536, "bfloat16") == 70_272
    assert "Model type kimi_k2: read as deepseek_v3, which has the same form." in alone.notes
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "kimi_k25", "text_config": KIMI}))
    assert published(tmp_path).state == alone.state
