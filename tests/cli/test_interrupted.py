"""Long commands of the command line: rehearsed, interrupted, killed, and gone on with."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import l2m, start

CALIBRATION = (
    "calibrate", "--out", "made/eta.yaml", "--kinds", "window,gated_deltanet", "--lengths", "64", "--steps", "4",
    "--batch-tokens", "512", "--seeds", "2", "--rates", "0.003", "--device", "cpu",
)  # fmt: skip


def test_an_interrupted_calibration_says_how_to_go_on_and_does(folder: Path) -> None:
    process = start(*CALIBRATION, cwd=folder)
    rows, deadline = folder / "made/rows.jsonl", time.monotonic() + 120
    while not rows.exists() or rows.read_text().count("\n") < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "are stored in made/rows.jsonl; continue with: l2m calibrate --out made/eta.yaml" in said
    assert "Traceback" not in said
    kept = rows.read_text()
    plan = json.loads(l2m(*CALIBRATION, "--dry-run", "--json", cwd=folder).stdout)
    assert (plan["runs"], plan["runs_kept"]) == (16, kept.count("\n"))
    done = l2m(*CALIBRATION, "--json", cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    assert set(json.loads(done.stdout)["files"]) == {"made/eta.yaml", "made/eta.json", "made/rows.jsonl"}
    assert rows.read_text().startswith(kept)
    assert rows.read_text().count("\n") == 16
    assert l2m("check", "growing.yaml", "--eta", "made/eta.yaml", cwd=folder).returncode in (0, 1)


TRAINING = (
    "train", "growing.yaml", "--corpus", "santa-fe:beta=0.5,pairs=128,keys=8,documents=64", "--device", "cpu", "--out",
    "made", "--set", "length=64", "--set", "batch_tokens=128", "--set", "tokens=5000000",
)  # fmt: skip


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_interrupted_training_keeps_its_steps_and_says_so(folder: Path, processes: str) -> None:
    """Ctrl-C reaches the whole group; before the first minute no checkpoint was due."""
    process = start(*TRAINING, "--processes", processes, cwd=folder)
    assert process.stderr is not None
    while " of " not in (line := process.stderr.readline()):
        assert process.poll() is None, line
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "of 39,062 steps are saved; run the same command to continue" in said
    assert "Traceback" not in said
    again = l2m(*TRAINING, "--dry-run", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert [path.name for path in (folder / "made").iterdir()] == ["checkpoint.safetensors"]


STUDY = """
name: small
corpus: "santa-fe:beta=0.5,pairs=512,keys=64,documents=40"
space: space.yaml
demand: {beta: 0.5}
condition: {length: 4096}
recipe: {length: 128, tokens: 4096, batch_tokens: 512, windows: 16, rungs: [0.5]}
search: {trials: 1, warmup_trials: 4}
"""


@pytest.fixture
def study(folder: Path, repository: Path) -> Path:
    space = (repository / "search_spaces" / "hybrid.yaml").read_text()
    (folder / "space.yaml").write_text(space.replace("depth: 4", "depth: 2").replace("500000", "80000"))
    (folder / "study.yaml").write_text(STUDY)
    return folder


def records_of(study: Path) -> dict[int, str]:
    """What the study's database keeps of ended trials."""
    database = study / "runs/small/optuna.db"
    if not database.exists():
        return {}
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection, contextlib.suppress(sqlite3.Error):
        asked = "select trial_id, value_json from trial_user_attributes where key = 'record'"
        return dict(connection.execute(asked).fetchall())
    return {}


def test_an_interrupted_search_says_how_to_go_on_and_does(study: Path) -> None:
    process = start("search", "study.yaml", cwd=study)
    deadline = time.monotonic() + 120
    while len(records_of(study)) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "trials are saved; continue with: l2m search study.yaml --runs runs --reports reports --resume" in said
    assert "Traceback" not in said
    kept = records_of(study)
    done = l2m("search", "study.yaml", "--resume", "--json", cwd=study)
    assert done.returncode in (0, 1), done.stderr
    answer = json.loads(done.stdout)
    assert kept.items() <= records_of(study).items()
    trained = sum(answer["trials"][state] for state in ("complete", "pruned", "failed"))
    assert trained == len(answer["baselines"]) + 1


def test_an_interrupt_in_a_finaliser_is_not_lost(tmp_path: Path) -> None:
    code = """
import signal, sys, time, weakref
from l2m_design.cli import interrupt_again
sys.unraisablehook = interrupt_again
class Thing: pass
thing = Thing()
watch = weakref.ref(thing, lambda ref: signal.raise_signal(signal.SIGINT))
try:
    del thing
    time.sleep(5)
    print("lost")
except KeyboardInterrupt:
    print("came")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("came\n", "")


def test_a_killed_search_goes_on_too(study: Path) -> None:
    process = start("search", "study.yaml", cwd=study)
    deadline = time.monotonic() + 120
    while len(records_of(study)) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = records_of(study)
    answer = json.loads(l2m("search", "study.yaml", "--json", cwd=study).stdout)
    assert len(answer["baselines"]) == 7
    assert kept
    assert kept.items() <= records_of(study).items()


def test_a_terminated_search_says_how_to_go_on(study: Path) -> None:
    process = start("search", "study.yaml", cwd=study)
    deadline = time.monotonic() + 120
    while len(records_of(study)) < 1:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "trials are saved; continue with: l2m search study.yaml" in said


def test_a_dry_run_trains_nothing(study: Path) -> None:
    done = l2m("search", "study.yaml", "--dry-run", "--json", cwd=study)
    planned = json.loads(done.stdout)
    assert (planned["baselines"], planned["trials"]) == (7, 1)
    assert not (study / "runs").exists()
