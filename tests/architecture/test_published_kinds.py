"""Types and forms of published configs beside the usual: right numbers, or a refusal that says what would do."""

import json
from pathlib import Path
from typing import Any

import pytest

from l2m_design.architecture.readers import is_published, published
from l2m_design.errors import BadInput

V32 = {"model_type": "deepseek_v32", "num_hidden_layers": 61}
LLAMA = {"model_type": "llama", "num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("runtime", "bytes_"), [("transformers", 704 * 2), ("ideal", 704 * 2), ("vllm", 576 * 2 + 132)]
)
def test_the_keys_of_an_indexer_are_cached_beside_the_latent(runtime: str, bytes_: int, write) -> None:
    """vLLM holds 128 keys in float8 and one scale of four bytes."""
    read = published(write(V32), runtime)
    assert read.state.bytes(1000, "bfloat16") == 61 * bytes_ * 1000
    assert read.state.exponent == 1
    assert any(
        "A decoding step reads 2,048 tokens that an indexer picks, but all tokens stay cached" in note
        for note in read.notes
    )


def test_layers_that_share_an_indexer_keep_no_keys_of_it(write) -> None:
    glm = {"model_type": "glm_moe_dsa", "num_hidden_layers": 8, "index_topk_freq": 4, "index_skip_topk_offset": 3}
    read = published(write(glm))
    assert [layer.state.elements(1) for layer in read.layers] == [704, 704, 704, 576, 576, 576, 704, 576]
    with pytest.raises(BadInput, match="the first layer needs an indexer of its own"):
        published(write(glm | {"indexer_types": ["shared"] * 8}))
    with pytest.raises(BadInput, match="index_topk_pattern: must have one entry for each of the 8 layers, found 2"):
        published(write(glm | {"index_topk_pattern": "FS"}))


MINIMAX = {
    "model_type": "minimax_text_01", "vocab_size": 200064, "hidden_size": 6144, "intermediate_size": 9216,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
    "num_local_experts": 32, "num_experts_per_tok": 2, "attn_type_list": [0, 0, 0, 0, 0, 0, 0, 1] * 10,
    "tie_word_embeddings": False, "shared_intermediate_size": 0, "sliding_window": None,
}  # fmt: skip


@pytest.mark.parametrize("model_type", ["minimax_text_01", "minimax_m1", "minimax"])
def test_minimax_has_456_billion_parameters_of_which_45_9_are_active(model_type: str, write) -> None:
    """As its makers count them: the active ones without the tables of embeddings."""
    read = published(write(MINIMAX | {"model_type": model_type}))
    tables = 2 * 200064 * 6144
    assert (round(read.parameters / 1e9), round((read.active_parameters - tables) / 1e9, 1)) == (456, 45.9)
    assert read.picture == "10 x (N N N N N N N A)"
    assert read.state.elements(1000) == 70 * 64 * 128 * 128 + 10 * 2 * 8 * 128 * 1000
    assert "recurrent states in float32" not in read.notes[0]


def test_minimax_with_a_shared_expert_is_refused(write) -> None:
    with pytest.raises(BadInput, match=r"shared_intermediate_size: must be 0 \(no shared expert\), found 4736"):
        published(write(MINIMAX | {"shared_intermediate_size": 4736}))


@pytest.mark.parametrize(
    ("config", "then", "now"),
    [
        ({"model_type": "deepseek_v3", "num_hidden_layers": 61}, 2_498_560, 35_136),
        ({"model_type": "kimi_k2", "num_hidden_layers": 61}, 2_498_560, 35_136),
        ({"model_type": "deepseek_v2", "num_hidden_layers": 32, "num_experts_per_tok": 6}, 32 * 32 * 320, 32 * 576),
    ],
)
def test_an_earlier_transformers_caches_all_heads_of_deepseek(config, then: int, now: int, write) -> None:
    """Measured with 4.57.3 on the tiny configs; of V3 61 layers x 128 heads x (192 of keys + 128 of values)."""
    read = published(write(config))
    assert read.earlier is not None
    assert (read.earlier.version, read.earlier.state.elements(1), read.state.elements(1)) == ("4.57", then, now)
    said = f"transformers 4.57 caches keys and values of all heads instead of the latent: {then:,} elements per token"
    assert read.earlier.sentence(read.state).startswith(said)


def test_no_earlier_version_is_named_where_none_is_known_to_differ(write) -> None:
    assert published(write({"model_type": "deepseek_v3", "num_hidden_layers": 61}), "vllm").earlier is None
    assert published(write(V32)).earlier is None
    assert published(write(LLAMA)).earlier is None


def test_the_version_that_tests_measure_is_the_version_that_is_named(write) -> None:
    import transformers

    named = published(write(LLAMA)).notes[0]
    major = transformers.__version__.split(".")[0]
    assert f"transformers {major}." in named


MISTRAL = {
    "dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
    "norm_eps": 1e-05, "vocab_size": 32768, "rope_theta": 1000000.0,
}  # fmt: skip


def test_a_params_json_of_mistral_inference_is_read(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text(json.dumps(MISTRAL))
    for path in (file, tmp_path):
        assert is_published(path)
        read = published(path)
        assert (read.model_type, read.parameters, read.picture) == ("mistral", 7_248_023_552, "32 x A")
        assert read.state.bytes_per_token(65_536, "bfloat16") == 131_072
        assert "A file of mistral-inference: read as mistral, which has the same form." in read.notes


@pytest.mark.parametrize(
    ("laid_over", "picture", "parameters"),
    [
        ({"sliding_window": 4096}, "32 x W", 7_248_023_552),
        ({"_sliding_window": [None, 4096, 4096, 4096]}, "8 x (A W W W)", 7_248_023_552),
        ({"moe": {"num_experts": 8, "num_experts_per_tok": 2}, "vocab_size": 32000}, "32 x A", 46_702_792_704),
        ({"tied_embeddings": True}, "32 x A", 7_248_023_552 - 32768 * 4096),
    ],
)
def test_windows_experts_and_tied_embeddings_of_mistral_inference(laid_over, picture, parameters, write) -> None:
    read = published(write(MISTRAL | laid_over))
    assert (read.picture, read.parameters) == (picture, parameters)


@pytest.mark.parametrize(
    ("laid_over", "said"),
    [
        (
            {"multiple_of": 256},
            "multiple_of: a params.json of Meta's Llama, which is not supported; give the config",
        ),
        ({"kv_lora_rank": 512}, "kv_lora_rank: a params.json of latent attention, which is not supported; give the"),
        ({"model_type": "mamba"}, "model_type: input should be 'transformer', found \"mamba\""),
        ({"hidden_dim": None}, "hidden_dim: input should be a valid integer, found null"),
        ({"moe": {"num_experts": 8, "num_experts_per_tok": 2, "num_shared_experts": 1}}, "unknown key 'num_shared_exp"),
        ({"sliding_window": [4096, 8192]}, "sliding_window: must be a list of one size and null whose length"),
        ({"sliding_window": [None, 4096, 4096]}, "whose length divides the 32 layers, without moe, found [None, 4096"),
    ],
)
def test_other_forms_of_params_json_are_refused(laid_over: dict[str, Any], said: str, write) -> None:
    with pytest.raises(BadInput) as refused:
        published(write(MISTRAL | laid_over))
    assert said in str(refused.value)


def test_kimi_linear_whose_layers_stand_nowhere_says_what_it_takes(write) -> None:
    said = "The file does not say which layers are KDA"
    bare = {"model_type": "kimi_linear", "num_hidden_layers": 5, "linear_attn_config": {"num_heads": 32}}
    assert any(note.startswith(said) for note in published(write(bare)).notes)
    assert not any("linear_num_heads" in note for note in published(write(bare)).notes)  # given, under another name
    listed = bare | {"linear_attn_config": {"full_attn_layers": [4], "kda_layers": [1, 2, 3, 5]}}
    assert not any(note.startswith(said) for note in published(write(listed)).notes)


def test_granite_without_experts_or_mamba_layers_is_attention_alone(write) -> None:
    """Keys that only its Mamba layers use, infinity in a tool's notation among them, bear on nothing."""
    granite = {
        "model_type": "granitemoehybrid", "hidden_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 32,
        "num_key_value_heads": 8, "num_local_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": 8192,
        "layer_types": ["attention"] * 4, "time_step_limit": [0.0, {"__float__": "Infinity"}], "mamba_n_heads": 64,
        "mamba_d_head": 64, "tie_word_embeddings": True, "vocab_size": 100352,
    }  # fmt: skip
    read = published(write(granite))
    heads, mlp = 2 * 2048 * 2048 + 2 * 2048 * 512, 3 * 2048 * 8192
    assert read.parameters == read.active_parameters == 100352 * 2048 + 4 * (heads + mlp + 2 * 2048) + 2048
    assert read.state.bytes_per_token(65_536, "bfloat16") == 4 * 2 * 8 * 64 * 2


def test_a_factor_written_as_a_float_is_a_factor(write) -> None:
    falcon = {"model_type": "falcon_h1", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
              "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "num_hidden_layers": 2}  # fmt: skip
    real, whole = published(write(falcon | {"mamba_expand": 1.0})), published(write(falcon | {"mamba_expand": 1}))
    assert (real.state, real.parameters) == (whole.state, whole.parameters)


def test_deepseek_v2_lite_keeps_31_104_bytes_a_token(write) -> None:
    lite = {
        "model_type": "deepseek_v2", "vocab_size": 102400, "hidden_size": 2048, "intermediate_size": 10944,
        "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16, "n_routed_experts": 64,
        "num_experts_per_tok": 6, "q_lora_rank": None, "first_k_dense_replace": 1,
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"},
    }  # fmt: skip
    read = published(write(lite))
    assert read.state.bytes_per_token(4096, "bfloat16") == 27 * 576 * 2
    assert (read.parameters, read.active_parameters) == (15_706_484_224, 2_661_150_208)
