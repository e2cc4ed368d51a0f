"""`l2m check` says what would change its answer, to people and to programs."""

import json
from functools import partial
from pathlib import Path

import pytest

from tests.command import l2m

LLAMA = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 8, "num_attention_heads": 4, "vocab_size": 90}
DRAWING = """
vocabulary: 90
width: 32
layers:
  - {kind: attention, heads: 2, kv_heads: 1, head_dim: 16, window: 64}
  - {kind: mamba2, d_state: 16, head_dim: 16}
"""


check = partial(l2m, "check")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "fixed.yaml").write_text(DRAWING)
    return tmp_path


def test_the_json_holds_the_advice_in_words_and_in_numbers(folder: Path) -> None:
    answer = json.loads(check("llama", "--length", "4096", "--json", cwd=folder).stdout)
    assert answer["advice"][0] == "State by layer type at 4,096 tokens: 8 attention layers 100.0%."
    assert answer["change"]["pays"][0]["state_bytes"] == answer["state_bytes"]
    windows = next(option for option in answer["change"]["options"] if option["to"] == "window")
    assert windows["meets"] is True
    assert windows["state_elements"] < answer["state_elements"]
    assert windows["layers"] == list(range(7))


def test_the_text_ends_with_what_would_have_to_change(folder: Path) -> None:
    done = check("fixed.yaml", "--beta", "0.7", cwd=folder)
    assert done.returncode == 1
    assert "window layer must become full attention" in done.stdout
    assert "State by layer type" in done.stdout
