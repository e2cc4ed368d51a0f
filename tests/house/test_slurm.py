"""The Slurm example, run with a stub in the place of l2m."""

import os
import subprocess
from pathlib import Path

import pytest

STUB = """#!/bin/bash
echo "$*" >> calls.txt
case "$1 $(wc -l < calls.txt)" in
  "worker 1") echo "l2m: study mine: not in postgresql://h/n; studies there: none" >&2; exit 2 ;;
  "worker 2") echo "l2m: study mine in postgresql://h/n: not planned yet" >&2; exit 2 ;;
esac
echo "$LAST" >&2
exit "${CODE:-0}"
"""


@pytest.fixture
def array(tmp_path: Path, repository: Path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "l2m").write_text(STUB)
    (tmp_path / "bin" / "l2m").chmod(0o755)
    (tmp_path / "study.yaml").write_text("name: mine\ncorpus: stdlib\n")

    def run(task: int, **environment: str) -> tuple[int, list[str], str]:
        own = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "L2M_STORAGE": "postgresql://h/n", "L2M_PAUSE": "0"}
        slurm = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_CPUS_PER_TASK": "8", "LAST": ""}
        script = ["bash", str(repository / "configs" / "slurm-array.sh"), "study.yaml"]
        done = subprocess.run(
            script, cwd=tmp_path, env=own | slurm | environment, capture_output=True, text=True, check=False
        )
        calls = (tmp_path / "calls.txt").read_text().splitlines() if (tmp_path / "calls.txt").exists() else []
        return done.returncode, calls, done.stderr

    return run


def test_the_script_is_bash(repository: Path) -> None:
    subprocess.run(["bash", "-n", str(repository / "configs" / "slurm-array.sh")], check=True)


def test_the_first_task_plans_the_study(array) -> None:
    code, calls, _ = array(0)
    assert code == 0
    assert calls == ["search study.yaml --storage postgresql://h/n --set name=mine --set threads=8"]


def test_the_others_join_as_soon_as_it_is_planned(array) -> None:
    code, calls, _ = array(3)
    assert code == 0
    assert calls == ["worker --study mine --storage postgresql://h/n --threads 8 --index 3"] * 3


def test_a_worker_that_fails_for_another_reason_does_not_try_again(array) -> None:
    code, calls, said = array(2, CODE="2", LAST="l2m: study mine: its corpus differs here")
    assert code == 1
    assert len(calls) == 3
    assert "its corpus differs here" in said


def test_nobody_waits_for_ever(array) -> None:
    code, calls, _ = array(2, L2M_PATIENCE="0")
    assert code == 1
    assert len(calls) == 1


def test_a_missing_database_is_said(array) -> None:
    code, calls, said = array(0, L2M_STORAGE="")
    assert code != 0
    assert calls == []
    assert "say where PostgreSQL is" in said
