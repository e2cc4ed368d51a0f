"""`l2m estimate`: several estimators and models in a call, tables, plots, and what is refused in one line."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.command import l2m

SOURCE = "santa-fe:beta=0.6,pairs=512,keys=500,documents=40"


estimate = partial(l2m, "estimate", OMP_NUM_THREADS="1")


def test_estimators_stand_beside_each_other(tmp_path: Path) -> None:
    words = (SOURCE, "--shortest", "16", "--model", "oracle", "--estimator", "profile", "--estimator", "direct")
    done = estimate(*words, "--estimator", "compression", "--json", "--replicates", "100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["estimator"] == "profile (oracle)"
    assert [other["estimator"] for other in found["compared"]] == ["direct, same document (oracle)", "compression"]
    shown = estimate(*words, "--replicates", "100", cwd=tmp_path)
    assert "the estimate of the model with the lower loss" in shown.stdout


def test_a_model_of_files_brings_its_tokens_and_keeps_its_scores(
    tmp_path: Path, tiny_llama: Path, text_folder: Path
) -> None:
    words = (str(text_folder), "--estimator", "profile", "--model", str(tiny_llama), "--shortest", "2", "--json")
    options = ("--longest", "32", "--windows", "40", "--replicates", "100", "--scores", "kept.parquet")
    first = json.loads(estimate(*words, *options, cwd=tmp_path).stdout)
    again = json.loads(estimate(*words, *options, cwd=tmp_path).stdout)
    assert first["tokens_scored"] == again["tokens_scored"] > 0
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    assert first["control_explained"] is not None
    assert any("the amount is what this model can use" in note for note in first["notes"])


@pytest.mark.parametrize("kind", ["png", "svg", "html"])
def test_a_measurement_is_drawn(tmp_path: Path, kind: str) -> None:
    words = (SOURCE, "--shortest", "16", "--estimator", "profile", "--model", "oracle", "--published")
    done = estimate(*words, "--replicates", "100", "--plot", f"x.{kind}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = (tmp_path / f"x.{kind}").read_bytes()
    assert data.startswith({"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype html>"}[kind])
    if kind != "png":
        assert b"PG19 books, published" in data


def test_two_point_alone_has_the_promised_keys_and_no_beta(tmp_path: Path) -> None:
    found = json.loads(estimate("markov:stay=0.9", "--estimator", "two-point", "--json", cwd=tmp_path).stdout)
    assert found["beta"] is None
    assert found["lengths"] == []
    assert found["two_point"]["distances"][:3] == [1, 2, 4]


def test_a_law_without_exponent_is_said(tmp_path: Path) -> None:
    done = estimate("markov:stay=0.9", "--estimator", "profile", "--model", "oracle", "--shortest", "16", cwd=tmp_path)
    assert "no beta: the preferred law is 'constant'" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stdlib", "--estimator", "guess"), "--estimator: found 'guess', allowed: compression, profile"),
        (("stdlib", "--estimator", "profile"), "direct and vclub need one"),
        (("stdlib", "--model", "oracle"), "need one; compression"),
        (("stdlib", "--estimator", "profile", "--model", "oracle"), "needs a synthetic source"),
        (("stdlib", "--estimator", "gaussian"), "needs real values"),
        (("stdlib", "--scores", "x.parquet"), "needs exactly one --model"),
        (("stdlib", "--published"), "--published: needs --plot"),
        (("stdlib", "--plot", "x.pdf"), "must end in one of: .png, .svg, .html"),
        (("stdlib", "--estimator", "profile", "--model", "./nowhere"), "--model ./nowhere: no such file or folder"),
        (("stdlib", "--estimator", "direct", "--model", "train", "--pairing", "none"), "is not allowed for direct"),
        (("iid", "--control", "compression"), "control 'compression' is allowed for profile"),
        (("nan.npy", "--estimator", "gaussian"), "document 0, position 3: not a finite number"),
        (("markov:stay=2",), "stay: input should be less than 1"),
        (("tree-gaussian:branching=3",), "branching (3) must be even"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    np.save(tmp_path / "nan.npy", np.where(np.arange(4000) == 3, np.nan, 1.0)[None])
    done = estimate(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
