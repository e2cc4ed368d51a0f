"""`l2m check --fits`: the longest context whose state fits, and one token more that does not."""

import json
from functools import partial
from pathlib import Path

import pytest

from l2m_design.errors import BadInput
from l2m_design.laws import Fixed, StateLaw, StateTerm, Tokens
from l2m_design.library.fits import Memory, parse_memory
from tests.command import l2m

check = partial(l2m, "check")
LLAMA = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 8, "vocab_size": 128256}  # fmt: skip


@pytest.mark.parametrize(("size", "batch"), [(10**6, 1), (10**6, 7), (123_456_789, 3)])
def test_what_fits_fits_and_one_token_more_does_not(size: int, batch: int) -> None:
    state = StateLaw((StateTerm(96, Tokens(), kind="attention"), StateTerm(5000, Fixed(), "float32", "mamba2")))
    tokens = Memory(size, batch).plain(state, "bfloat16")["tokens"]
    assert batch * state.bytes(tokens, "bfloat16") <= size < batch * state.bytes(tokens + 1, "bfloat16")


def test_a_fixed_state_fits_at_any_length_or_at_none() -> None:
    state = StateLaw((StateTerm(1000, Fixed(), kind="mamba2"),))
    assert Memory(2000, 1).plain(state, "bfloat16")["tokens"] is None
    assert Memory(1999, 1).plain(state, "bfloat16")["tokens"] == 0


def test_a_published_model_fits_as_its_bytes_a_token_say(tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(LLAMA))
    answer = json.loads(check("llama", "--fits", "16GiB", "--batch", "4", "--json", cwd=tmp_path).stdout)
    assert answer["fits"] == {"bytes": 2**34, "batch": 4, "tokens": 2**34 // 4 // (32 * 8 * 128 * 2 * 2)}
    said = check("llama", "--fits", "16GiB", cwd=tmp_path).stdout
    assert "In 16 GiB the longest context that fits is 131,072 tokens." in said


@pytest.fixture
def hybrid(tmp_path: Path) -> Path:
    config = {"model_type": "qwen3_next", "num_hidden_layers": 48}
    (tmp_path / "hybrid").mkdir()
    (tmp_path / "hybrid" / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "step"),
    [(("vllm", "--paged"), 544), (("vllm", "--paged", "--dtype", "float8"), 1072), (("llama.cpp",), 256),
     (("llama.cpp", "--kv-dtype", "q4_0"), 256)],
)  # fmt: skip
def test_what_a_server_allots_has_to_fit(words: tuple[str, ...], step: int, hybrid: Path) -> None:
    """The longest context fills its last block of `step` tokens; with one token more the allotment is too large."""
    ask = ("hybrid", "--runtime", *words, "--batch", "3", "--json")
    tokens = json.loads(check(*ask, "--fits", "3GiB", cwd=hybrid).stdout)["fits"]["tokens"]
    assert tokens % step == 0
    within, beyond = (
        json.loads(check(*ask, "--length", str(length), cwd=hybrid).stdout)["allotted"]
        for length in (tokens, tokens + 1)
    )
    assert within["bytes"] <= 3 * 2**30 < beyond["bytes"]
    assert within["nominal_bytes"] <= within["bytes"]
    assert beyond["nominal_bytes"] < beyond["bytes"]


def test_nominal_and_allotted_bytes_stand_side_by_side_with_the_reason(hybrid: Path) -> None:
    said = check("hybrid", "--runtime", "vllm", "--paged", "--length", "4096", cwd=hybrid).stdout
    page = 544 * 2 * 2 * 256 * 2
    size = 12 * page * (-(-4096 // 544) + 3 * 2) / 2**20
    assert f"vLLM allocates {size:.0f} MiB; nominal are 134 MiB (" in said
    assert (
        "keys and values are stored in blocks of 544 tokens, so that a page of them is as large as that of a " in said
    )
    assert "the page of a state is padded by 1.49%; with prefix caching a sequence has 2 pages of state." in said
    assert "Bytes are nominal" not in said
    local = check("hybrid", "--runtime", "llama.cpp", "--length", "4000", "--batch", "2", cwd=hybrid).stdout
    assert "llama.cpp allocates 343 MiB for 2 sequences; nominal are 338 MiB (1.3% more)" in local
    assert "(KV cache in float16, other states in float32)" in local


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--paged",), "--paged: only vLLM has pages; give --runtime vllm too"),
        (("--runtime", "llama.cpp", "--paged"), "--paged: only vLLM has pages"),
        (("--runtime", "llama.cpp", "--dtype", "float8"), "llama.cpp has no KV cache in float8; allowed: float32"),
        (
            ("--kv-dtype", "q4_0"),
            "--kv-dtype: q4_0 is a format of llama.cpp, but the state is counted for transformers",
        ),
        (("--runtime", "vllm", "--kv-dtype", "q8_0"), "vLLM has no KV cache in q8_0; allowed: float32"),
        (
            ("--runtime", "vllm", "--batch", "2"),
            "--batch: needs --fits, or --runtime llama.cpp",
        ),
    ],
)
def test_what_a_server_does_not_have_is_refused_in_one_line(words: tuple[str, ...], said: str, hybrid: Path) -> None:
    done = check("hybrid", *words, cwd=hybrid)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("text", ["much", "16 apples", "-1GiB", "0", "1e9", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="`fits`"):
        parse_memory(text, 1)


def test_a_batch_without_memory_is_refused() -> None:
    with pytest.raises(BadInput, match="`batch`: needs `fits`"):
        parse_memory(None, 2)
