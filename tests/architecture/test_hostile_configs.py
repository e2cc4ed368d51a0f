"""Broken and hostile config.json: a BadInput of one line that names file and field, or an answer; always at once."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2m_design.architecture.readers import READERS, is_published, published
from l2m_design.errors import BadInput

TINY = json.loads((Path(__file__).parent / "published.json").read_text())
TINY |= json.loads((Path(__file__).parent / "fla.json").read_text())
TINY |= {
    "mistral-inference": {
        "dim": 32, "n_layers": 2, "head_dim": 8, "hidden_dim": 48, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 40
    },
    "mamba_ssm": {"d_model": 32, "n_layer": 2, "ssm_cfg": {"layer": "Mamba2", "headdim": 16}},
    "mamba_ssm, with attention": {
        "d_model": 32, "n_layer": 2, "attn_layer_idx": [1], "attn_cfg": {"num_heads": 4, "d_conv": 4, "mlp_dim": 8}
    },
}  # fmt: skip
FIELDS = sorted(
    {name for reader in READERS.values() for name in reader.model_fields}
    | {name for config in TINY.values() for name in config}
)
NUMBERS = st.integers(-3, 70) | st.sampled_from([10**9, 10**10, -(10**12), 2**63, 10**4000, 0.5, 1e308, True, False])
INNER = [
    "head_dim", "num_heads", "layers", "window_size", "num_kv_heads", "num_experts", "full_attn_layers", "layer",
    "d_ssm", "headdim", "num_heads_kv", "mlp_dim", "d_conv",
]  # fmt: skip
JUNK = st.recursive(
    NUMBERS | st.none() | st.text(max_size=8) | st.sampled_from(["auto", "full_attention", "mamba", "M*E-"]),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(INNER) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
CALLS = 500_000  # of Python functions: about half a second here; a count is the same on every machine, seconds are not


def answer(path: Path) -> str | None:
    """What is said of a config that is refused, after a check that it is one line and was said at once."""
    calls, counted = 0, sys.getprofile()

    def count(_frame: object, event: str, _of: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        read = published(path)
        read.state.elements(65_536), read.state.bytes(65_536), read.picture
        said = None
    except BadInput as error:
        said = str(error)
        assert said.startswith(str(path))
        assert len(said.splitlines()) == 1
    finally:
        sys.setprofile(counted)
    assert calls < CALLS
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(TINY)), st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=3), st.data())
def test_any_config_is_answered_or_refused_in_one_line(
    folder: Path, name: str, laid_over: dict[str, Any], data: st.DataObject
) -> None:
    config = TINY[name] | laid_over
    dropped = data.draw(st.sets(st.sampled_from(sorted(config)), max_size=3))
    path = folder / "config.json"
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in dropped}))
    answer(path)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60) | JUNK.map(lambda value: json.dumps(value).encode()))
def test_any_file_is_answered_or_refused_in_one_line(folder: Path, content: bytes) -> None:
    path = folder / "config.json"
    path.write_bytes(content)
    assert answer(path) is not None


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: input should be less than or equal to 1024, found 10000000"),
        ({"num_hidden_layers": True}, "num_hidden_layers: input should be a valid integer, found true"),
        ({"hidden_size": -32}, "hidden_size: input should be greater than or equal to 1, found -32"),
        ({"hidden_size": 10**12}, "hidden_size: input should be less than or equal to 1000000000"),
        ({"hidden_size": "32"}, "hidden_size: input should be a valid integer, found \"32\""),
        ({"num_key_value_heads": 3}, "num_key_value_heads (3) must divide num_attention_heads (4)"),
        ({"layer_types": ["full_attention"]}, "layer_types: must have one entry for each of the 3 layers, found 1"),
        ({"layer_types": ["full_attention"] * 2 + ["ful_attention"]}, "layer_types.2: unknown 'ful_attention'"),
        ({"layer_types": ["sliding_attention"] * 3}, "sliding_window: required by layers of sliding_attention"),
        ({"layer_types": ["x"] * 10**5}, "layer_types: list should have at most 1024 items"),
        ({"layer_types": {"a": [[]]}}, "layer_types: input should be a valid list"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings: input should be a valid boolean, found 1"),
        ({"model_type": ["llama"]}, "model_type: found list; known: bamba"),
        ({"model_type": None}, "model_type: found none; known: bamba"),
        ({"model_type": "gemma3"}, "text_config: must be an object, found NoneType"),
        ({"model_type": "mamba2"}, "num_heads x head_dim (8192) must be expand x hidden_size (64)"),
        ({"model_type": "bamba", "mamba_n_heads": 7}, "mamba_n_heads (7) must divide the channels of the state space"),
        ({"model_type": "zamba2"}, "layers_block_type: required unless there are 54 layers, found none for 3"),
        ({"model_type": "gemma3n_text", "num_kv_shared_layers": 3}, "num_kv_shared_layers (3): layer 0 is of sliding_"),
        ({"model_type": "gemma3n_text", "intermediate_size": "x"}, "intermediate_size: input should be a valid list"),
        ({"model_type": "gemma3n_text", "intermediate_size": -3}, "intermediate_size.0: input should be greater than"),
        ({"model_type": "gemma4_text", "enable_moe_block": True}, "num_experts, top_k_experts, moe_intermediate_size"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "MX"}, "hybrid_override_pattern: string should match"),
    ],
)  # fmt: skip
def test_a_refusal_names_field_found_and_allowed(config: dict[str, Any], said: str, write) -> None:
    assert said in (answer(write(TINY["llama"] | config)) or "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON: Expecting value"),
        ("{", "not JSON: Expecting property name"),
        ("[1, 2]", "must be a JSON object, found list"),
        ("[" * 100_000, "not JSON: "),
        ('{"model_type": ' + "[" * 900 + "]" * 900 + "}", ""),
        ('{"model_type": "llama", "hidden_size": ' + "[" * 980 + "]" * 980 + "}", ""),
        ('{"model_type": "llama", "layer_types": ' + '{"a":' * 1500 + "1" + "}" * 1500 + "}", ""),
        ('{"model_type": "llama", "vocab_size": ' + "9" * 5000 + "}", "not JSON: "),
        (" " * 5_000_000, "5,000,000 bytes are too many for a config"),
    ],
)
def test_what_is_no_config_is_refused(content: str, said: str, write) -> None:
    assert said in (answer(write(content)) or "")


@pytest.mark.parametrize("model_type", sorted(READERS))
def test_the_deepest_model_of_the_largest_sizes_is_answered_at_once(model_type: str, write) -> None:
    depth, types = 1024, ("layer_types", "layers_block_type", "linear_attn_config", "attn_layer_indices", "attn")
    config = next((tiny for tiny in TINY.values() if tiny.get("model_type") == model_type), TINY["mamba_ssm"])
    deep = {key: value for key, value in config.items() if key not in types} | {"num_hidden_layers": depth}
    patterns = {"zamba2": {"layers_block_type": ["hybrid"] * depth}, "lfm2_moe": {"layer_types": ["conv"] * depth}}
    deep |= patterns.get(model_type, {})
    deep |= {"n_layer": depth} if model_type == "mamba_ssm" else {"vocab_size": 10**9}
    assert answer(write(deep)) is None or model_type == "gemma3n_text"


def test_names_that_no_terminal_should_see_are_escaped(write) -> None:
    three = TINY["qwen3"] | {"num_hidden_layers": 1, "layer_types": ["\ud800\x1b[2J"]}
    assert r"unknown '\ud800\x1b[2J', allowed" in (answer(write(three)) or "")
    assert r"found '\x1b[31m'" in (answer(write({"model_type": "\x1b[31m"})) or "")


def test_a_pipe_or_a_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(os.devnull)
    assert "must be a file, found a pipe, a device" in (answer(tmp_path / "config.json") or "")


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    assert not is_published(tmp_path)
    with pytest.raises(BadInput, match=r"config\.json: No such file"):
        published(tmp_path)
