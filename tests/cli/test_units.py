"""A demand in bytes and a model of tokens: lengths in one unit, or a refusal."""

import json
from functools import partial
from pathlib import Path

import pytest

from l2m_design.laws import PowerLaw
from tests.command import l2m

check = partial(l2m, "check")
MAMBA = {"model_type": "mamba2", "hidden_size": 256, "num_hidden_layers": 8, "num_heads": 8, "vocab_size": 50277}
LAW = PowerLaw(2.0, 0.6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mamba").mkdir()
    (tmp_path / "mamba" / "config.json").write_text(json.dumps(MAMBA))
    (tmp_path / "bytes.yaml").write_text(
        "vocabulary: 256\nwidth: 32\nlayers:\n  - {kind: mamba2, d_state: 16, head_dim: 16}\n"
    )
    for name, unit, held in (("bytes", "bytes", 1.0), ("tokens", "tokens", 2.0), ("none", "tokens", None)):
        estimate = {"beta": LAW.beta.plain(), "required": LAW.plain(), "unit": unit, "bytes_per_token": held}
        (tmp_path / f"{name}.json").write_text(json.dumps(estimate | {"vocabulary": 256 if unit == "bytes" else 9999}))
    return tmp_path


def test_a_demand_in_bytes_is_refused_to_a_model_of_tokens(folder: Path) -> None:
    done = check("mamba", "--estimate", "bytes.json", cwd=folder)
    assert done.returncode == 2
    assert "bytes.json counts bytes, and mamba reads tokens (vocabulary 50,277): give --bytes-per-token" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("estimate", "times"), [("bytes", 4.0), ("tokens", 2.0), ("none", 4.0)])
def test_lengths_amount_and_reach_are_in_the_tokens_of_the_model(folder: Path, estimate: str, times: float) -> None:
    words = ("mamba", "--length", "65536", "--nats-per-element", "0.001", "--json")
    told = check(*words, "--estimate", f"{estimate}.json", "--bytes-per-token", "4", cwd=folder)
    answer = json.loads(told.stdout)
    assert (answer["demand"]["unit"], answer["demand"]["bytes_per_token"]) == ("tokens", 4.0)
    assert answer["required_nats"]["value"] == pytest.approx(LAW.at(times * 32768).value)
    plain = ("--beta", "0.6", "--prefactor", str(2.0 * times**0.6))
    same = json.loads(check(*words, *plain, cwd=folder).stdout)
    assert answer["reach_tokens"] == same["reach_tokens"]
    assert answer["level_slack"] == pytest.approx(same["level_slack"])


def test_a_model_of_bytes_takes_a_demand_in_bytes_as_it_is(folder: Path) -> None:
    answer = json.loads(check("bytes.yaml", "--estimate", "bytes.json", "--json", cwd=folder).stdout)
    assert answer["demand"]["unit"] == "bytes"
    assert answer["required_nats"]["value"] == pytest.approx(LAW.at(32768).value)


@pytest.mark.parametrize("held", ["0", "-1", "nan", "1e9"])
def test_a_token_holds_some_bytes(folder: Path, held: str) -> None:
    done = check("mamba", "--estimate", "bytes.json", "--bytes-per-token", held, cwd=folder)
    assert done.returncode == 2
    assert "--bytes-per-token" in done.stderr
