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
    assert "bytes.json counts bytes, but mamba reads tokens (vocabulary 50,277): give --bytes-per-token" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("estimate", "times"), [("bytes", 4.0), ("tokens", 2.0)])
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


def test_tokens_of_unknown_bytes_are_not_taken_for_bytes(folder: Path) -> None:
    for words, source in ((("--estimate", "none.json"), "none.json"), ((), "PG19 books")):
        done = check("mamba", *words, "--bytes-per-token", "4", cwd=folder)
        assert done.returncode == 2
        assert f"works only if the requirement counts bytes, or tokens of known size; {source}" in done.stderr
    given = check("mamba", "--beta", "0.6", "--prefactor", "2", "--bytes-per-token", "4", "--json", cwd=folder)
    answer = json.loads(given.stdout)["demand"]
    assert answer["source"] == "given, in bytes"
    assert answer["law"] == PowerLaw(2.0 * 4**0.6, 0.6).formula()
    assert check("mamba", "--beta", "0.6", "--bytes-per-token", "4", cwd=folder).returncode in (0, 1)


def test_tokens_of_another_vocabulary_are_refused_and_a_model_of_bytes_is_known(folder: Path) -> None:
    done = check("mamba", "--estimate", "tokens.json", cwd=folder)
    assert done.returncode == 2
    assert "tokens.json counts tokens of 2 bytes (vocabulary 9,999), but mamba reads other tokens" in done.stderr
    answer = json.loads(check("bytes.yaml", "--estimate", "tokens.json", "--json", cwd=folder).stdout)
    assert (answer["demand"]["unit"], answer["demand"]["bytes_per_token"]) == ("bytes", 1.0)
    assert answer["required_nats"]["value"] == pytest.approx(LAW.at(16384).value)
    both = check("mamba", "bytes.yaml", "--estimate", "bytes.json", "--bytes-per-token", "4", cwd=folder)
    assert "bytes.yaml reads bytes, the other models read tokens; check them in separate commands" in both.stderr
    padded = folder / "padded"
    padded.mkdir()
    (padded / "config.json").write_text(json.dumps(MAMBA | {"vocab_size": 10240}))
    assert check("padded", "--estimate", "tokens.json", cwd=folder).returncode in (0, 1)


def test_an_estimate_of_an_earlier_version_counts_bytes_where_its_vocabulary_is_theirs(folder: Path) -> None:
    old = {"beta": LAW.beta.plain(), "law": LAW.plain(), "vocabulary": 256}
    (folder / "old.json").write_text(json.dumps(old))
    assert "old.json counts bytes" in check("mamba", "--estimate", "old.json", cwd=folder).stderr
