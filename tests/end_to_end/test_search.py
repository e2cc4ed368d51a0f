"""From a folder of text to an exported architecture, by the commands that a user types."""

import json
import re
from pathlib import Path

from l2m_design.architecture import Architecture
from tests.command import l2m


def test_real_text_becomes_an_exported_architecture(tmp_path: Path, repository: Path) -> None:
    small = (
        "corpus=stdlib:tokenizer=bpe:512",
        "recipe.tokens=8192",
        "recipe.length=256",
        "recipe.windows=24",
        "search.trials=2",
        "search.warmup_trials=3",
        "space.parameters=120000",
        "space.depth=2",
        "demand.measure.windows=64",
        "finalists={top: 1, seeds: 2, tokens: 8192, baselines: [all attention]}",
        "name=small",
    )
    sets = [word for setting in small for word in ("--set", setting)]
    done = l2m("search", str(repository / "configs" / "quickstart.yaml"), *sets, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stdlib, measured by compression: beta 0." in done.stdout
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in done.stdout
    report = tmp_path / "reports" / "small"
    page = (report / "index.html").read_text()
    shown = set(re.findall(r'data-figure="(\w+)"', page))
    assert shown >= {"finalists", "gains", "front", "state", "information", "profile"}
    assert len(re.findall(r'<div class="static">\s*<svg', page)) == len(shown)
    summary = json.loads((report / "study.json").read_text())
    chosen = Architecture.load(report / "architecture.yaml")
    assert chosen.fingerprint == summary["chosen"]["fingerprint"]
    assert summary["verdict"] in ("confirmed", "not confirmed", "undecided")
    assert summary["reference"] in {row["name"] for row in summary["finalists"]}
    assert set(summary["context_gain"]) <= {"16", "64", "128"}
    assert summary["demand"]["measurement"]["bytes_per_token"] > 1.5
    assert "finalists.seeds: 2: fewer than 3" in done.stderr
    assert abs(chosen.parameters / 120_000 - 1) <= 0.03
    check = l2m("check", "reports/small/card.json", "--beta", str(summary["demand"]["exponent"]), cwd=tmp_path)
    assert check.returncode == 0, check.stdout
    assert l2m("report", "reports/small", cwd=tmp_path).returncode == 0
    assert l2m("export", "reports/small/card.json", "--out", "mine", cwd=tmp_path).returncode == 0
    words = ("export", "reports/small/card.json", "--to", "huggingface", "--out", "model", "--json")
    exported = json.loads(l2m(*words, cwd=tmp_path).stdout)
    assert exported["tokenizer"] == "byte-pair encoding, 512 tokens"
    assert {"model/tokenizer.json", "model/tokenizer_config.json"} <= set(exported["files"])
    wrote = l2m("generate", "model", "--prompt", "def größer", "--tokens", "4", "--json", cwd=tmp_path)
    assert 4 < json.loads(wrote.stdout)["prompt_tokens"] < len("def größer".encode())
    assert (tmp_path / "mlflow.db").exists()
