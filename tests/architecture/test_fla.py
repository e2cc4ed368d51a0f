"""Models of flash-linear-attention: held to its classes where they are installed, and to sizes derived by hand."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from l2m_design.architecture.readers import Published, published
from l2m_design.errors import BadInput

HERE = Path(__file__).parent
TINY = json.loads((HERE / "fla.json").read_text())
LENGTH = 9  # of fla_held.py
MISSING = [name for name in ("fla", "triton", "einops") if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")
    program = [sys.executable, str(HERE / "fla_held.py")]
    done = subprocess.run(
        program, input=json.dumps(TINY), env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("name", TINY)
def test_the_law_and_the_parameters_are_those_of_the_class(name: str, measured, write) -> None:
    read = published(write(TINY[name]))
    assert read.runtime == "fla"
    state = read.state
    assert [read.parameters, state.elements(LENGTH), state.bytes(LENGTH, "bfloat16")] == measured["held"][name]


@pytest.mark.parametrize("model_type", sorted({config["model_type"] for config in TINY.values()}))
def test_what_a_config_leaves_out_is_as_the_class_has_it(model_type: str, measured, write) -> None:
    config = {"model_type": model_type, "fuse_norm": True}
    assert published(write(config)).parameters == measured["defaults"][model_type]


@pytest.mark.parametrize(
    ("config", "memory", "columns"),
    [
        ({"model_type": "gla"}, 24 * 4 * 256 * 512, 0),
        ({"model_type": "gla", "num_kv_heads": 2, "use_short_conv": True},
         24 * 4 * 256 * 512, 24 * 4 * (1024 + 512 + 1024)),
        ({"model_type": "delta_net"}, 24 * 16 * 128 * 128, 24 * 4 * 3 * 2048),
        ({"model_type": "gated_deltanet"}, 21 * 6 * 256 * 512, 21 * 4 * (1536 + 1536 + 3072)),
        ({"model_type": "kda", "num_v_heads": 32}, 24 * 32 * 128 * 128, 24 * 4 * (2048 + 2048 + 4096)),
        ({"model_type": "rwkv7"}, 24 * 32 * 64 * 64, 24 * 2 * 2048),
        ({"model_type": "mamba2", "rmsnorm": True}, 48 * 64 * 64 * 128, 48 * 4 * (4096 + 2 * 128)),
    ],
)  # fmt: skip
def test_memories_are_float32_and_convolutions_keep_a_column_a_tap(config, memory: int, columns: int, write) -> None:
    state = published(write(config)).state
    assert (state.elements(1), state.bytes(1, "bfloat16")) == (memory + columns, 4 * memory + 2 * columns)
    assert state.exponent == 0


def test_what_must_be_kept_is_a_column_less_and_all_in_one_dtype(write) -> None:
    state = published(write({"model_type": "delta_net"}), "ideal").state
    assert state.bytes(1, "bfloat16") == 2 * 24 * (16 * 128 * 128 + 3 * 3 * 2048)


HYBRID = {
    "model_type": "gated_deltanet", "hidden_size": 1024, "num_hidden_layers": 4, "head_dim": 64, "num_heads": 4,
    "max_position_embeddings": 2048,
    "attn": [{"layers": [1], "num_heads": 8, "num_kv_heads": 2, "window_size": 4096}, {"layers": [3], "num_heads": 8}],
}  # fmt: skip


def test_layers_that_attn_lists_are_attention_of_its_sizes(write) -> None:
    read = published(write(HYBRID))
    assert read.picture == "D W D A"
    assert read.layers[1].state.elements(10_000) == 2 * 2 * 128 * 4096
    assert read.layers[3].state.elements(10_000) == 2 * 8 * 128 * 10_000
    assert read.positions is None
    one = published(write(HYBRID | {"attn": HYBRID["attn"][1]}))
    assert one.picture == "D D D A"


@pytest.mark.parametrize(
    ("laid_over", "said"),
    [
        ({"attn": {"layers": [4], "num_heads": 8}}, "attn.layers: must name layers from 0 to 3, each once, found [4]"),
        ({"attn": [{"layers": [1], "num_heads": 8}] * 2}, "must name layers from 0 to 3, each once, found [1, 1]"),
        ({"attn": {"layers": [1], "num_heads": 7}}, "attn.num_heads (7) must divide hidden_size (1024)"),
        ({"attn": {"layers": [1]}}, "attn.0.num_heads"),
        ({"attn": "all"}, "attn: input should be a valid list"),
        ({"expand_v": 1.01}, "expand_v (1.01) x 64 must be a whole number"),
        ({"num_v_heads": 6}, "num_heads (4) must divide num_v_heads (6)"),
        ({"model_type": "gla", "num_heads": 3}, "num_heads (3) must divide expand_k x hidden_size (512)"),
        ({"model_type": "rwkv7"}, "attn: must be null: RWKV7ForCausalLM has no attention layers"),
        ({"model_type": "rwkv7", "attn": None, "value_dim": 2048}, "value_dim: must be hidden_size (1024)"),
        ({"model_type": "rwkv7", "attn": None, "num_heads": None, "head_dim": None}, "head_dim: required if"),
        ({"model_type": "mamba2", "fuse_norm": True, "num_heads": 9}, "num_heads (9) must be expand x hidden_size / "),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(laid_over: dict[str, Any], said: str, write) -> None:
    with pytest.raises(BadInput) as refused:
        published(write(HYBRID | laid_over))
    assert said in str(refused.value)


FLAME = {
    "model_type": "mamba2", "hidden_size": 1024, "num_hidden_layers": 48, "state_size": 128, "head_dim": 64,
    "expand": 2, "conv_kernel": 4, "vocab_size": 32000, "tie_word_embeddings": False, "fuse_norm": True,
    "rmsnorm": True,
}  # fmt: skip
SAVED = FLAME | {"hidden_size": 4096, "num_hidden_layers": 64, "num_heads": 128}


@pytest.mark.parametrize(("config", "heads"), [(FLAME, 32), (FLAME | {"n_groups": 1}, 32), (SAVED, 128)])
def test_a_mamba2_of_fla_has_one_group_and_as_many_heads_as_fit(config: dict[str, Any], heads: int, write) -> None:
    read, layers = published(write(config)), config["num_hidden_layers"]
    assert (read.runtime, read.model_type) == ("fla", "mamba2")
    assert read.state.elements(9) == layers * (heads * 64 * 128 + (heads * 64 + 2 * 128) * 4)
    assert any(f"one group, unless n_groups is given, and expand x hidden_size / head_dim = {heads} heads" in note
               for note in read.notes)  # fmt: skip


def test_a_mamba2_without_keys_of_fla_is_that_of_transformers(write) -> None:
    plain = {key: value for key, value in SAVED.items() if key not in ("fuse_norm", "rmsnorm")}
    read = published(write(plain))
    assert read.runtime == "transformers"
    assert read.state.elements(9) == 64 * (128 * 64 * 128 + (8192 + 2 * 8 * 128) * 4)


def notes(read: Published) -> str:
    return " ".join(read.notes)


def test_a_runtime_that_does_not_run_a_model_says_so(write) -> None:
    with pytest.raises(
        BadInput, match="`runtime` fla: supports delta_net, gated_deltanet, gla, kda, rwkv7, its mamba2, n"
    ):
        published(write({"model_type": "llama"}), "fla")
    with pytest.raises(BadInput, match="`runtime` mamba-ssm: supports mamba, mamba2, mamba_ssm, not fla's mamba2"):
        published(write(FLAME), "mamba-ssm")
    assert "vLLM is not known to support fla's mamba2" in notes(published(write(FLAME), "vllm"))
    assert "transformers has no class for gla of fla" in notes(published(write({"model_type": "gla"}), "transformers"))
