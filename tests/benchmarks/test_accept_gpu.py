"""The acceptance of a GPU, rehearsed on the CPU as its users start it; in full shape where there is a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SECTIONS = ("machine", "values", "kernels", "recipe", "decoding", "layers", "flex", "compiled")


MIXED = """
import torch
from accept_gpu import found_there
from elsewhere import elsewhere, sent
from l2m_design.model.acceptance import Found

elsewhere()
z = sent(torch.ones(3))
for other in (torch.ones(3), sent(torch.ones(3))):
    found = found_there(lambda: Found(str((z + other).shape)))
    print(found.works, found.words)
"""


def accept(repository: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    return run(repository, str(repository / "benchmarks" / "accept_gpu.py"), *map(str, words))


def run(repository: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (repository, repository / "benchmarks")))}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)


def rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(path.read_text())["rows"]:
        found.setdefault(row["section"], []).append(row)
    return found


def test_every_section_can_be_rehearsed(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "acceptance.json"
    done = accept(repository, "--rehearse", "--only", *SECTIONS, "--budget", 2000, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    found, summary = rows(out), json.loads(out.read_text())
    assert set(found) == set(SECTIONS)
    assert summary["failed"] == 0
    assert summary["skipped"] == sum(row["works"] is None for row in summary["rows"])
    assert {row["what"] for row in found["values"]} == {row["what"] for row in found["layers"]}
    assert all(row["numbers"]["tokens_per_second"] > 0 for row in found["recipe"])
    assert all(row["numbers"]["kernels"] > 0 for row in (*found["layers"], *found["decoding"]))
    assert all("for GPUs" in row["found"] for row in found["compiled"])
    window = next(row for row in found["values"] if row["what"] == "window")
    assert window["numbers"]["logits"] > 0  # by another form than the CPU's, whose every bit would agree


def test_a_rehearsal_fails_where_tensors_of_two_devices_meet(repository: Path) -> None:
    mixed, alike = run(repository, "-c", MIXED).stdout.splitlines()
    assert mixed.startswith("False torch.Size([3]); tensors of two devices: add ")
    assert alike == "True torch.Size([3])"


def test_what_the_budget_leaves_out_is_counted_as_skipped(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "acceptance.json"
    done = accept(repository, "--rehearse", "--only", "values", "--budget", "0", "--out", out)
    assert done.returncode == 0, done.stderr
    assert all("budget of 0 s is spent" in row["found"] for row in rows(out)["values"])
    assert "0 right, 0 failed, 17 skipped" in done.stdout
    assert done.stdout.splitlines()[-1] == "not verified: values"


def test_without_a_gpu_it_is_one_line(repository: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = accept(repository, "--only", "machine")
    assert done.returncode == 2
    assert "no CUDA device works here (torch " in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_path_can_be_rehearsed(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "acceptance.json"
    done = accept(repository, "--rehearse", "--only", "path", "--budget", "600", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["works"] for row in rows(out)["path"]] == [True, None, None, True]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_machine_and_decoding_are_accepted(repository: Path, tmp_path: Path) -> None:
    done = accept(repository, "--only", "machine", "decoding", "--out", tmp_path / "acceptance.json")
    assert done.returncode == 0, done.stdout + done.stderr
