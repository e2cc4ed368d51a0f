"""`l2m check --fits`: the longest context whose state fits, and one token more that does not."""

import json
from functools import partial
from pathlib import Path

import pytest

from l2m_design.cli.fits import Memory, parse_memory
from l2m_design.errors import BadInput
from l2m_design.laws import Fixed, StateLaw, StateTerm, Tokens
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


@pytest.mark.parametrize("text", ["much", "16 apples", "-1GiB", "0", "1e9", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--fits"):
        parse_memory(text, 1)


def test_a_batch_without_memory_is_refused() -> None:
    with pytest.raises(BadInput, match="give both"):
        parse_memory(None, 2)
