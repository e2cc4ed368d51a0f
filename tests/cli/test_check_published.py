"""`l2m check` on published models: by config.json or its folder, in a runtime's convention, refused in one line."""

import json
import re
from functools import partial
from pathlib import Path

import pytest

from l2m_design.architecture.readers import READERS, WRAPPERS
from l2m_design.architecture.readers.table import ALIASES
from tests.command import l2m

FALCON_H1 = {"model_type": "falcon_h1", "num_hidden_layers": 24, "hidden_size": 2048, "num_attention_heads": 8,
             "num_key_value_heads": 2, "head_dim": 128, "mamba_d_ssm": 3072, "mamba_d_state": 256,
             "mamba_n_heads": 24, "mamba_d_conv": 4}  # fmt: skip
MISTRAL = {"model_type": "mistral", "num_hidden_layers": 2, "sliding_window": 4096, "max_position_embeddings": 32768}


check = partial(l2m, "check")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    deepseek = {"model_type": "deepseek_v3", "num_hidden_layers": 61}
    for name, config in (("mistral", MISTRAL), ("deepseek", deepseek), ("falcon", FALCON_H1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_published_model_is_judged_with_the_keys_of_a_drawing(folder: Path) -> None:
    done = check("mistral", "--length", "65536", "--json", cwd=folder)
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    promised = {"growth_exponent", "asked_exponent", "meets_growth", "state_elements", "state_bytes", "bytes_per_token",
                "length", "dtype", "reach_tokens", "layers", "parameters", "runtime", "active_parameters",
                "notes"}  # fmt: skip
    assert promised <= set(answer)
    assert (answer["runtime"], answer["growth_exponent"]) == ("transformers", 0.0)
    assert answer["state_elements"] == 2 * 2 * 8 * 128 * 4095
    assert [layer["kind"] for layer in answer["layers"]] == ["window", "window"]
    assert any("32,768 positions; it is judged at a context of 65,536" in note for note in answer["notes"])

    ideal = json.loads(check("mistral/config.json", "--runtime", "ideal", "--json", cwd=folder).stdout)
    assert ideal["state_elements"] == 2 * 2 * 8 * 128 * 4096


def test_the_text_says_which_layers_pay_and_that_bytes_are_nominal(folder: Path) -> None:
    done = check("deepseek", "--length", "4096", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "deepseek_v3: 61 x L: 671,026,404,352 parameters (37,552,282,624 active), width 7168" in done.stdout
    assert "61 (0, 1, 2, 3, ...)" in done.stdout
    assert "70,272 bytes for each further token" in done.stdout
    assert "Counted like the dynamic cache of transformers 5.24 after a decoding step." in done.stdout
    assert "Bytes are nominal: servers allocate more" in done.stdout


def test_float8_is_the_caches_and_recurrent_states_keep_the_runtimes_own(folder: Path) -> None:
    """As vLLM does: an fp8 KV cache does not quantise the Mamba state (vllm-project/vllm#55196)."""
    where = ("falcon", "--runtime", "vllm", "--length", "2048")
    keys, states = 24 * 2 * 2 * 128 * 2048, 24 * (3072 * 256 + (3072 + 2 * 256) * 3)
    done = check(*where, "--dtype", "float8", cwd=folder)
    assert "60.5 MiB (KV cache in float8, other states in bfloat16)" in done.stdout
    for words, size, cache, state in (
        (("--dtype", "float8"), keys + 2 * states, "float8", "bfloat16"),
        (("--kv-dtype", "int8"), keys + 2 * states, "int8", "bfloat16"),
        (("--runtime", "llama.cpp", "--kv-dtype", "q8_0"), keys * 34 // 32 + 4 * states, "q8_0", "float32"),
        (("--kv-dtype", "float8", "--state-dtype", "float32"), keys + 4 * states, "float8", "float32"),
        (("--dtype", "float32", "--state-dtype", "float16"), 4 * keys + 2 * states, "float32", "float16"),
    ):
        answer = json.loads(check(*where, *words, "--json", cwd=folder).stdout)
        assert answer["state_bytes"] == size, words
        assert (answer["dtypes"]["kv_cache"], answer["dtypes"]["state"]) == ([cache], [state])
    latent = json.loads(check("deepseek", "--length", "4096", "--dtype", "float8", "--json", cwd=folder).stdout)
    assert latent["state_bytes"] == 61 * 576 * 4096


def test_the_version_of_a_convention_is_named_and_what_an_earlier_one_holds(folder: Path) -> None:
    note = "transformers 4.57 caches keys and values of all heads instead of the latent: 2,498,560 elements per token"
    assert note in check("deepseek", "--length", "4096", cwd=folder).stdout
    answer = json.loads(check("deepseek", "--length", "4096", "--json", cwd=folder).stdout)
    assert answer["runtime_version"] == "5.24"
    assert answer["earlier_versions"] == [
        {"version": "4.57", "state_elements": 2_498_560 * 4096, "state_bytes": 4_997_120 * 4096,
         "bytes_per_token": 4_997_120}
    ]  # fmt: skip
    ideal = json.loads(check("deepseek", "--runtime", "ideal", "--json", cwd=folder).stdout)
    assert (ideal["runtime_version"], ideal["earlier_versions"]) == (None, [])


def test_a_folder_with_a_params_json_is_named_and_judged(folder: Path) -> None:
    config = {"dim": 64, "n_layers": 2, "head_dim": 16, "hidden_dim": 96, "n_heads": 4, "n_kv_heads": 2,
              "vocab_size": 99}  # fmt: skip
    (folder / "native").mkdir()
    (folder / "native" / "params.json").write_text(json.dumps(config))
    done = check("native", "deepseek", "--json", cwd=folder)
    assert [row["model"] for row in json.loads(done.stdout)["models"]] == ["native", "deepseek"]
    refused = check("native", "--set", "dim=x", cwd=folder)
    assert refused.returncode == 2
    assert "params.json: dim: input should be a valid integer" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("empty",), "empty: the folder contains neither an architecture.yaml nor a config.json"),
        (
            ("mistral", "--runtime", "vlm"),
            "--runtime: unknown runtime 'vlm'; did you mean 'vllm'? allowed: transformers",
        ),
        (("mistral", "--runtime", "mamba-ssm"), "--runtime mamba-ssm: supports mamba, mamba2, mamba_ssm, not mistral"),
        (
            ("mistral", "--kv-dtype", "q9"),
            "kv_dtype: input should be 'float32', 'bfloat16', 'float16', 'float8', 'int8', ",
        ),
        (("mistral", "--state-dtype", "float8"), "state_dtype: input should be 'float32', 'bfloat16' or 'float16'"),
        (("mistral", "--set", "num_hidden_layers=-1"), "config.json: num_hidden_layers: input should be greater than"),
        (
            ("mistral", "--set", "slidng_window=9"),
            "--set slidng_window: not in the file, and not a key of its model type; did you",
        ),
        (
            ("drawing.yaml", "--runtime", "vllm"),
            "--runtime: works only with a published config.json; drawing.yaml is an architecture file",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_2(folder: Path, words: tuple[str, ...], said: str) -> None:
    (folder / "drawing.yaml").write_text("vocabulary: 9\nwidth: 8\nlayers: [{kind: mamba1}]\n")
    done = check(*words, cwd=folder)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not done.stdout


def test_the_documentation_names_every_type(repository: Path) -> None:
    section = (repository / "docs" / "reference" / "published.md").read_text()
    types = {*READERS, *ALIASES, *WRAPPERS} - {"mamba_ssm"}
    assert types <= set(re.findall(r"`([a-z0-9_]+)`", section))
    changes = (repository / "CHANGELOG.md").read_text()
    assert f"`config.json` of {len(types)} Hugging Face types" in changes


def test_what_needs_a_drawing_says_who_reads_a_config(folder: Path) -> None:
    words = ["export", "mistral/config.json", "--out", "made"]
    done = l2m(*words, cwd=folder)
    assert done.returncode == 2
    assert "is the config of a published model, which only `l2m check` reads; must be an architecture" in done.stderr
