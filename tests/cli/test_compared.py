"""Several models in one `l2m check`: the same answers as one by one, a picture, and one line where one is bad."""

import json
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path

import pytest

from tests.command import l2m

LLAMA = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 8, "num_attention_heads": 4, "vocab_size": 90}
MAMBA = {"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 4}
DRAWING = """
vocabulary: 90
width: 32
layers:
  - {kind: attention, heads: 2, kv_heads: 1, head_dim: 16, window: 64}
  - {kind: attention, heads: 2, kv_heads: 2, head_dim: 16}
"""
DEMAND = ("--beta", "0.7", "--prefactor", "1", "--length", "4096")


check = partial(l2m, "check")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, config in (("llama", LLAMA), ("mamba", MAMBA)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "hybrid.yaml").write_text(DRAWING)
    (tmp_path / "broken.yaml").write_text("vocabulary: 90\nwidth: -3\nlayers: []\n")
    (tmp_path / "estimate.json").write_text(
        json.dumps(
            {
                "beta": {"value": 0.7},
                "preferred_law": "power",
                "law": {
                    "prefactor": 2.0, "exponent": 0.7, "offset": 0.0, "level": 0.95,
                    "draws": [[2.0, 0.65, 0.0], [2.1, 0.7, 0.0], [1.9, 0.75, 0.0]],
                },
            }
        )
    )  # fmt: skip
    return tmp_path


def test_several_answers_are_the_single_ones_and_all_must_meet(folder: Path) -> None:
    done = check("llama", "mamba/config.json", "hybrid.yaml", *DEMAND, "--lengths", "1k,8k", "--json", cwd=folder)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["meets"]) == (1, False)
    assert [model["model"] for model in answer["models"]] == ["llama", "mamba", "hybrid.yaml"]
    for path, model in zip(("llama", "mamba", "hybrid.yaml"), answer["models"], strict=True):
        alone = check(path, *DEMAND, "--lengths", "1k,8k", "--json", cwd=folder)
        single = json.loads(alone.stdout)
        assert {"model": model["model"]} | single == model
        assert alone.returncode == (0 if single["meets"] else 1)


def test_when_all_meet_the_condition_the_exit_is_0(folder: Path) -> None:
    done = check("llama", "hybrid.yaml", *DEMAND, cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert any(row[:4] == ["llama", "yes", "t^1.00", "met"] for row in rows)
    assert any(row[:5] == ["hybrid.yaml", "not", "decided", "t^1.00", "met"] for row in rows)
    assert "llama: meets the condition." in done.stdout


def test_models_of_the_same_name_keep_their_paths(folder: Path) -> None:
    (folder / "again").mkdir()
    (folder / "again" / "llama").symlink_to(folder / "llama")
    answer = json.loads(check("llama", "again/llama", *DEMAND, "--json", cwd=folder).stdout)
    assert [model["model"] for model in answer["models"]] == ["llama", "again/llama"]


@pytest.mark.parametrize("models", [("llama",), ("llama", "mamba", "hybrid.yaml")], ids=len)
@pytest.mark.parametrize("demand", [DEMAND, ("--estimate", "estimate.json"), ("--beta", "0.6")], ids=lambda d: d[0][2:])
def test_the_picture_names_every_model_and_what_is_required(
    folder: Path, models: tuple[str, ...], demand: tuple[str, ...]
) -> None:
    done = check(*models, *demand, "--plot", "held.svg", "--json", cwd=folder)
    assert done.returncode in (0, 1)
    assert done.stderr == "Plot: held.svg\n"
    json.loads(done.stdout)
    svg = (folder / "held.svg").read_text()
    ElementTree.fromstring(svg)
    for name in models:
        assert name in svg
    assert "llama, t^1.00" in svg
    assert svg.count("required by the data") == (0 if demand == ("--beta", "0.6") else 1)


def test_the_picture_is_a_png_or_a_page_that_needs_nothing_else(folder: Path) -> None:
    check("llama", "mamba", *DEMAND, "--plot", "held.png", cwd=folder)
    assert (folder / "held.png").read_bytes().startswith(b"\x89PNG\r\n")
    check("llama", "mamba", *DEMAND, "--plot", "held.html", cwd=folder)
    page = (folder / "held.html").read_text()
    assert "<svg" in page
    assert "8 attention layers 100.0%" in page
    assert "src=" not in page
    assert "<link" not in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("llama", "broken.yaml", "mamba"), "broken.yaml: width"),
        (("llama", "nowhere.yaml"), "nowhere.yaml: No such file"),
        (("llama", "mamba", "--runtime", "ideal", "--set", "hidden_size=-1"), "llama/config.json: hidden_size"),
        (("mamba", "llama", "--runtime", "mamba-ssm"), "llama: --runtime mamba-ssm: supports"),
        (("llama", "llama"), "llama: given twice"),
        (("llama", "--plot", "held.pdf"), "--plot held.pdf: the file name must end in one of: .png, .svg, .html"),
        (("llama", "--plot", "llama/config.json/held.png"), "--plot llama/config.json/held.png: "),
        (("llama", "mamba", "--lengths", "4k,many"), "--lengths: found 'many'"),
    ],
)
def test_what_is_bad_among_several_is_one_line_and_exit_2(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = check(*words, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"l2m: {said}")
    assert len(done.stderr.strip().splitlines()) == 1
