"""Published models: the law read from a config is what the real class holds, its parameters are the real ones.

published.json has a tiny config for everything that the readers tell apart; sizes of experts and of a latent are
multiples of 8, as a grouped matrix product on a CPU asks for.
"""

import json
from pathlib import Path

import pytest

from l2m_design.architecture.readers import READERS, RUNTIMES, Published, is_published, published
from l2m_design.architecture.readers.config import class_defaults
from l2m_design.errors import BadInput
from tests.architecture import defaults
from tests.architecture.conftest import language_model

TINY = json.loads((Path(__file__).parent / "published.json").read_text())
FOREIGN = {name for name, reader in READERS.items() if reader.own_runtime != "transformers"}
LENGTHS = (3, 5, 6, 7, 19)
SAID = {"kimi_linear": {"linear_attn_config": {}}}  # without it the file may be of another type
DEEPSEEK_V3 = {"model_type": "deepseek_v3", "num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_k", "moe_topk")
NO_DEFAULT_MODEL = {
    "deepseek_v2": "its class has no number of experts for a token",
    "dots1": "its class has no number of experts",
    "hunyuan_v1_dense": "its class needs head_dim",
    "hunyuan_v1_moe": "its class needs head_dim",
    "lfm2_moe": "its class needs layer_types",
    "ministral": "its class takes no head_dim for a number",
    "nemotron": "its class needs num_key_value_heads",
} | dict.fromkeys(FOREIGN, "no class of transformers")


def ssm_elements(model: Published) -> int:
    """Elements of recurrent memories, which transformers holds in float32, without the columns of convolutions."""
    return sum(term.elements for term in model.state.terms if term.dtype == "float32")


def mamba(hidden: int, layers: int) -> dict[str, object]:
    return {"model_type": "mamba", "hidden_size": hidden, "num_hidden_layers": layers, "state_size": 16}


def test_every_type_with_a_class_has_a_tiny_instance() -> None:
    assert {config["model_type"] for config in TINY.values()} == set(READERS) - FOREIGN


@pytest.mark.parametrize("name", TINY)
def test_the_law_and_the_parameters_are_those_of_the_class(name: str, build, write) -> None:
    real, read = build(TINY[name]), published(write(TINY[name]))
    assert read.parameters == real.parameters
    for tokens in LENGTHS:
        assert (read.state.elements(tokens), read.state.bytes(tokens, "bfloat16")) == real.held(tokens), tokens
    assert real.held(19, steps=4) == real.held(19)


@pytest.mark.parametrize("name", TINY)
def test_a_config_that_transformers_saved_is_read_alike(name: str, tmp_path: Path, write) -> None:
    from transformers import AutoConfig

    AutoConfig.for_model(**TINY[name]).save_pretrained(tmp_path / "saved")
    by_hand, saved = published(write(TINY[name])), published(tmp_path / "saved")
    assert saved.layers == by_hand.layers
    assert (saved.parameters, saved.active_parameters) == (by_hand.parameters, by_hand.active_parameters)


def test_the_defaults_on_file_are_those_of_the_classes() -> None:
    """Where this fails after a change of transformers or of a reader, `make defaults` writes them anew."""
    assert class_defaults() == defaults.of_all()


@pytest.mark.parametrize("model_type", sorted(READERS))
def test_what_a_config_leaves_out_is_as_its_class_has_it(model_type: str, write) -> None:
    if model_type in NO_DEFAULT_MODEL:
        pytest.skip(NO_DEFAULT_MODEL[model_type])
    import torch
    from transformers import AutoConfig

    config = AutoConfig.for_model(model_type)
    with torch.device("meta"):
        real, head = language_model(config)
    read = published(write({"model_type": model_type, "hidden_size": config.hidden_size} | SAID.get(model_type, {})))
    assert read.parameters == head + sum(p.numel() for p in real.parameters())


def test_deepseek_v3_keeps_70_272_bytes_a_token(write) -> None:
    read = published(write(DEEPSEEK_V3))
    assert read.state.bytes_per_token(4096, "bfloat16") == 70_272
    assert read.state.elements(1) == 61 * (512 + 64)


def test_gpt2_small_keeps_18_432_elements_a_token(write) -> None:
    read = published(write({"model_type": "gpt2", "n_layer": 12}))
    assert read.state.elements(1) == 18_432
    assert (read.parameters, read.positions) == (124_439_808, 1024)


@pytest.mark.parametrize(
    ("config", "elements"),
    [
        (mamba(768, 24), 589_824),
        (mamba(1024, 48), 1_572_864),
        (mamba(2048, 48), 3_145_728),
        ({"model_type": "mamba2", "hidden_size": 768, "num_hidden_layers": 24, "num_heads": 24, "n_groups": 1},
         4_718_592),
    ],
)  # fmt: skip
def test_state_space_models_have_the_memories_that_are_published(config, elements: int, write) -> None:
    assert ssm_elements(published(write(config))) == elements


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        ({"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
          "num_key_value_heads": 8}, 8_030_261_248, 8_030_261_248),
        ({"model_type": "mixtral", "num_hidden_layers": 32}, 46_702_792_704, 12_879_925_248),
        (DEEPSEEK_V3, 671_026_404_352, 37_552_282_624),
        ({"model_type": "falcon_mamba", "vocab_size": 65024, "hidden_size": 4096, "intermediate_size": 8192,
          "expand": 16, "num_hidden_layers": 64, "tie_word_embeddings": False}, 7_272_665_088, 7_272_665_088),
        ({"model_type": "qwen3_moe", "head_dim": 128, "num_attention_heads": 32, "num_hidden_layers": 48,
          "vocab_size": 151936}, 30_532_122_624, 3_353_032_704),
        ({"model_type": "gpt_oss", "num_hidden_layers": 24, "num_local_experts": 32}, 20_914_757_184, 4_187_440_704),
    ],
)  # fmt: skip
def test_published_models_have_the_parameters_that_are_published(config, total: int, active: int, write) -> None:
    read = published(write(config))
    assert (read.parameters, read.active_parameters) == (total, active)


def test_a_config_of_mamba_ssm_is_that_of_its_modules(write) -> None:
    """Counted by hand: MambaLMHeadModel of 50,277 tokens padded to 50,280, no biases but the convolution's."""
    width, inner, heads, convolved = 768, 1536, 24, 1536 + 2 * 128
    layer = width * (2 * inner + 2 * 128 + heads) + 5 * convolved + 3 * heads + inner + inner * width + width
    plain = {"d_model": 768, "n_layer": 24, "vocab_size": 50277, "ssm_cfg": {"layer": "Mamba2"}, "attn_layer_idx": []}
    read = published(write(plain))
    assert (read.runtime, read.model_type) == ("mamba-ssm", "mamba_ssm")
    assert read.parameters == 50_280 * width + 24 * layer + width
    assert read.state.elements(10) == 24 * (inner * 128 + 4 * convolved)
    assert read.state.bytes(10, "bfloat16") == 2 * read.state.elements(10)

    attn = {
        "num_heads": 8,
        "num_heads_kv": 2,
        "head_dim": 64,
        "d_conv": 4,
        "qkv_proj_bias": False,
        "out_proj_bias": False,
    }
    mixed = published(write(plain | {"attn_layer_idx": [1], "attn_cfg": attn, "d_intermediate": 100}))
    heads_of_all = 64 * (8 + 2 * 2)
    assert mixed.layers[1].kind == "attention"
    assert mixed.layers[1].state.elements(10) == 2 * 2 * 64 * 10 + 4 * heads_of_all
    mlp = 3 * width * 128 + width
    assert mixed.layers[1].parameters == width * heads_of_all + 64 * 8 * width + 5 * heads_of_all + width + mlp


def test_runtimes_differ_by_their_conventions(write) -> None:
    window = {"model_type": "mistral", "num_hidden_layers": 1, "sliding_window": 100, "num_attention_heads": 8}
    held = {name: published(write(window), name).state.elements(1000) for name in ("transformers", "vllm", "ideal")}
    assert held["transformers"] == held["ideal"] // 100 * 99
    assert held["vllm"] == held["ideal"]

    space = {"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 1}
    states = {name: published(write(space), name).state for name in RUNTIMES if name != "fla"}
    memory, channels = 128 * 16, 128
    assert {name: state.bytes(1, "bfloat16") for name, state in states.items()} == {
        "transformers": 4 * memory + 2 * 4 * channels,
        "vllm": 2 * memory + 2 * 3 * channels,
        "llama.cpp": 4 * memory + 4 * 3 * channels,
        "mamba-ssm": 2 * memory + 2 * 4 * channels,
        "ideal": 2 * memory + 2 * 3 * channels,
    }


def test_vllm_holds_a_memory_as_the_config_or_its_kernel_says(write) -> None:
    for name, dtype in (("nemotron_h", "float32"), ("kimi_linear", "float32"), ("qwen3_next", None), ("bamba", None)):
        assert dtype in {term.dtype for term in published(write(TINY[name]), "vllm").state.terms}, name
    asked = TINY["qwen3_5_text"] | {"mamba_ssm_dtype": "float32"}
    assert "float32" in {term.dtype for term in published(write(asked), "vllm").state.terms}


def test_a_window_of_one_token_is_never_cut_by_transformers(build, write) -> None:
    config = TINY["mistral"] | {"sliding_window": 1}
    assert published(write(config)).state.elements(9) == build(config).held(9).elements
    assert published(write(config), "ideal").state.exponent == 0


def test_a_model_inside_another_is_read_alone(write) -> None:
    text = {key: value for key, value in TINY["gemma3_text"].items() if key != "model_type"}
    alone = published(write(TINY["gemma3_text"]))
    inside = published(write({"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 9}}))
    assert (inside.state, inside.parameters) == (alone.state, alone.parameters)
    assert any("without image encoders" in note for note in inside.notes)


def test_layers_that_share_a_cache_say_whose_and_count_once(write) -> None:
    read = published(write(TINY["gemma3n_text"]))
    assert [layer.shares for layer in read.layers] == [None, None, None, 2, 1]
    assert read.picture == "W A W w a"
    assert [layer.state.elements(9) for layer in read.layers[3:]] == [0, 0]
    whole = published(write(TINY["gemma3n_text"] | {"num_kv_shared_layers": 0}))
    assert read.state.elements(100) < whole.state.elements(100)


def test_layers_without_a_mixer_keep_nothing(write) -> None:
    read = published(write(TINY["nemotron_h"]))
    assert [layer.kind for layer in read.layers] == ["mamba2", "nothing", "mamba2", "attention", "nothing"]
    assert [bool(layer.state.elements(9)) for layer in read.layers] == [True, False, True, True, False]


@pytest.mark.parametrize("name", TINY)
def test_a_token_passes_all_parameters_but_those_of_experts_not_chosen(name: str, write) -> None:
    config = TINY[name]
    read, every = published(write(config)), published(write(config | {key: 4 for key in CHOSEN if key in config}))
    assert read.active_parameters <= read.parameters == every.active_parameters
    assert (read.active_parameters < read.parameters) == any(config.get(key) for key in CHOSEN)


def test_a_drawing_is_not_taken_for_a_published_model(tmp_path: Path, write) -> None:
    assert is_published(write({"model_type": "llama"}))
    assert is_published(write({}))
    assert is_published(write("{"))
    assert not is_published(write({"vocabulary": 9, "width": 8, "layers": []}))
    (tmp_path / "other.json").write_text(json.dumps({"d_model": 8, "n_layer": 2}))
    assert is_published(tmp_path / "other.json")
    (tmp_path / "architecture.yaml").write_text("layers: []")
    assert not is_published(tmp_path)


def test_a_folder_stands_for_its_config_and_keys_can_be_laid_over_it(write) -> None:
    path = write(TINY["mistral"])
    assert published(path.parent) == published(path)
    assert published(path, overrides=["num_hidden_layers=1"]).state.elements(4) == 4 * 2 * 2 * 8


def test_what_is_not_in_the_file_is_said(write) -> None:
    read = published(write({"model_type": "llama", "num_hidden_layers": 2, "vocab_size": 9}))
    (note,) = (note for note in read.notes if "Not in" in note)
    assert "hidden_size 4096" in note
    assert "vocab_size" not in note


def test_long_patterns_are_drawn_once(write) -> None:
    assert published(write({"model_type": "qwen3_next", "num_hidden_layers": 48})).picture == "12 x (D D D A)"
    assert published(write(DEEPSEEK_V3)).picture == "61 x L"
    gemma = {"model_type": "gemma3_text", "num_hidden_layers": 34}
    assert published(write(gemma)).picture == "5 x (W W W W W A) W W W W"
    assert published(write(TINY["nemotron_h"])).picture == "M - M A -"


def test_an_unknown_type_is_told_the_known_ones(write) -> None:
    with pytest.raises(
        BadInput, match=r"config\.json: model_type: found 'lama'; did you mean 'llama'\? known: bamba, "
    ):
        published(write({"model_type": "lama"}))
    with pytest.raises(BadInput, match="`runtime` mamba-ssm: supports mamba, mamba2, mamba_ssm, not llama"):
        published(write({"model_type": "llama"}), "mamba-ssm")
    with pytest.raises(BadInput, match="unknown runtime 'vlm'; did you mean 'vllm'"):
        published(write({"model_type": "llama"}), "vlm")


@pytest.mark.parametrize(("window", "binds"), [(4096, True), (131072, False), (262144, False), (None, False)])
def test_windows_as_long_as_all_positions_never_bind(write, window: int | None, binds: bool) -> None:
    phi = {"model_type": "phi3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 99}
    read = published(write(phi | {"max_position_embeddings": 131072, "sliding_window": window}))
    full = published(write(phi | {"max_position_embeddings": 131072, "sliding_window": None}))
    assert (read.state == full.state) is not binds
    assert {layer.kind for layer in read.layers} == {"window" if binds else "attention"}
    said = "Its windows are as long as its 131,072 positions, so it stores all tokens."
    assert (said in read.notes) == (window is not None and not binds)
