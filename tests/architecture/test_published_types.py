"""Which configs are read, and as what: wrappers, aliases, types misspelt or unknown, files without own sizes."""

import json
from pathlib import Path
from typing import Any

import pytest

from l2m_design.architecture.readers import WRAPPERS, published
from l2m_design.architecture.readers.table import ALIASES
from l2m_design.errors import BadInput

TINY = json.loads((Path(__file__).parent / "published.json").read_text())
SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1}
LLAMA = {"model_type": "llama", "num_hidden_layers": 2}


def text(name: str) -> dict[str, Any]:
    """The first tiny config of the type that a wrapper takes by default, without a word on tying."""
    kind = ALIASES.get(WRAPPERS[name], WRAPPERS[name])
    config = next(config for config in TINY.values() if config["model_type"] == kind)
    return {key: value for key, value in config.items() if key != "tie_word_embeddings"}


@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_a_wrapper_is_its_class_without_the_tower(name: str, write) -> None:
    """On the meta device: the text model and the output head of the whole class."""
    if name == "gemma3n":
        pytest.skip("its tower is timm's")
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

    tower = {"aya_vision": {"vision_config": SIGLIP}}.get(name, {})
    config = CONFIG_MAPPING[name](text_config=text(name), tie_word_embeddings=False, **tower)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    inner = next(part for path, part in model.named_modules() if path.endswith(("language_model", "text_model")))
    numbers = {one: one.numel() for part in (inner, model.get_output_embeddings()) for one in part.parameters()}
    read = published(write({"model_type": name, "text_config": text(name), "tie_word_embeddings": False}))
    assert read.parameters == sum(numbers.values())
    assert any("without image encoders" in note for note in read.notes)


def test_a_wrapper_reads_the_type_that_its_text_model_names(write) -> None:
    ministral = TINY["ministral3, window"]
    inside = published(write({"model_type": "mistral3", "text_config": ministral}))
    assert (inside.model_type, inside.state) == ("ministral3", published(write(ministral)).state)
    own = {"model_type": "llava", "text_config": LLAMA | {"model_type": "marvin"}}
    with pytest.raises(BadInput, match=r"config\.json: text_config: model_type: found 'marvin'; known: bamba"):
        published(write(own))
    with pytest.raises(BadInput, match="text_config: model_type: found list"):
        published(write({"model_type": "llava", "text_config": {"model_type": ["llama"]}}))


def test_a_flat_file_of_qwen2_5_vl_is_read(write) -> None:
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    flat = {"model_type": "qwen2_5_vl", "vision_config": {"hidden_size": 9}, "tie_word_embeddings": True} | sizes
    nested = {"model_type": "qwen2_5_vl", "text_config": sizes, "tie_word_embeddings": True}
    assert published(write(flat)).layers == published(write(nested)).layers
    assert published(write(flat)).parameters == published(write(nested)).parameters


def test_mimo_is_of_the_form_of_qwen2_without_the_layers_that_predict_further_tokens(write) -> None:
    mimo = TINY["qwen2"] | {"model_type": "mimo", "num_nextn_predict_layers": 1}
    read = published(write(mimo))
    assert read.parameters == published(write(TINY["qwen2"])).parameters
    assert "Model type mimo: read as qwen2, which has the same form." in read.notes
    assert any("(MTP) are not counted" in note for note in read.notes)


def test_chunks_are_windows_and_layers_without_positions_see_everything(write) -> None:
    read = published(write(TINY["llama4_text"]))
    assert read.picture == "W W W A W"
    assert any("Chunked attention is counted like windows" in note for note in read.notes)
    assert published(write(TINY["llama4_text, no chunks"])).picture == "A A A"
    with pytest.raises(BadInput, match="attention_chunk_size: required by"):
        published(write(TINY["llama4_text, no chunks"] | {"layer_types": ["chunked_attention"] * 3}))


def test_cross_attention_keeps_nothing_of_text(write) -> None:
    read = published(write(TINY["mllama_text_model"]))
    assert read.picture == "A X A X A"
    assert [layer.state.elements(9) for layer in read.layers] == [288, 0, 288, 0, 288]
    assert any("2 cross-attention layers store nothing of the text" in note for note in read.notes)


def test_experts_chosen_differ_by_layer(write) -> None:
    read = published(write(TINY["hunyuan_v1_moe, by layer"]))
    each = 3 * 32 * 48
    assert [layer.parameters - layer.active_parameters for layer in read.layers] == [3 * each, 2 * each, each]
    with pytest.raises(BadInput, match="moe_topk: must have one entry for each of the 3 layers, found 2"):
        published(write(TINY["hunyuan_v1_moe, by layer"] | {"moe_topk": [1, 2]}))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama"},
        {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32064, "torch_dtype": "bfloat16"},
        {"model_type": "gpt2", "n_head": 12},
        {"model_type": "nemotron_h", "num_hidden_layers": 52},
        {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}},
        {"model_type": "gemma3", "text_config": {}},
        {"model_type": "kimi_k2"},
    ],
)
def test_a_config_without_sizes_of_its_own_is_refused(config: dict[str, Any], write) -> None:
    with pytest.raises(BadInput, match=r"none of hidden_size, \w+(, \w+)? is given, so the defaults of its class"):
        published(write(config))


def test_a_size_laid_over_a_config_is_its_own(write) -> None:
    assert published(write({"model_type": "llama"}), overrides=["hidden_size=4096"]).parameters == 6_738_415_616
    assert published(write({"model_type": "gpt2", "n_embd": 768})).parameters == 124_439_808


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        ("lama", "llama"), ("mistrall", "mistral"), ("qwen3_nxt", "qwen3_next"), ("Llama", None),
        ("recurent_gema", "recurrent_gemma"), ("qwen4", None), ("glm5", None), ("gemma5", None), ("llama5", None),
        ("kimi_k3", None), ("mamba3", None), ("samba", None), ("gpt_neo", None), ("internlm", None), ("", None),
        ("deepseek_v9", None), ("marvin", None), ("phi5", None), ("qwen3_omni", None), ("x" * 100_000, None),
    ],
)  # fmt: skip
def test_only_a_slip_of_the_hand_is_told_what_was_meant(found: str, meant: str | None, write) -> None:
    with pytest.raises(BadInput, match="can be described as an architecture") as refused:
        published(write({"model_type": found}))
    assert ("did you mean" in str(refused.value)) == (meant is not None)
    assert meant is None or f"did you mean '{meant}'?" in str(refused.value)


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        ({"model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18,
          "num_attention_heads": 8, "num_key_value_heads": 1}, 2_506_172_416, 2_506_172_416),
        ({"model_type": "gemma", "hidden_size": 3072}, 8_537_680_896, 8_537_680_896),
        ({"model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32},
         2_779_683_840, 2_779_683_840),
        ({"model_type": "starcoder2", "hidden_size": 3072}, 3_030_371_328, 3_030_371_328),
        ({"model_type": "olmo2", "vocab_size": 100352, "hidden_size": 4096}, 7_298_617_344, 7_298_617_344),
        ({"model_type": "cohere", "hidden_size": 8192}, 34_980_831_232, 34_980_831_232),
        ({"model_type": "qwen2_moe", "hidden_size": 2048}, 14_315_784_192, 2_689_173_504),
        ({"model_type": "seed_oss", "hidden_size": 5120}, 36_151_104_512, 36_151_104_512),
    ],
)  # fmt: skip
def test_published_models_have_the_parameters_that_are_published(config, total: int, active: int, write) -> None:
    read = published(write(config))
    assert (read.parameters, read.active_parameters) == (total, active)
