"""`l2m search` of a study that starts from a model: as its users run it."""

import json
from functools import partial
from pathlib import Path

import pytest

from l2m_design.settings import to_yaml
from tests.command import l2m
from tests.search.adopted import ADOPTION

one_thread = partial(l2m, OMP_NUM_THREADS="1")


@pytest.fixture
def place(tmp_path: Path, tiny_llama: Path, many_texts: Path) -> Path:
    (tmp_path / "model").symlink_to(tiny_llama)
    (tmp_path / "study.yaml").write_text(to_yaml(ADOPTION | {"choice": {"delta": 5.0}}))
    return tmp_path


def test_a_study_is_searched_reported_solved_again_and_exported(place: Path) -> None:
    planned = json.loads(one_thread("search", "study.yaml", "--dry-run", "--json", cwd=place).stdout)
    assert planned["replacements"] == 4
    assert planned["hours"] >= 0
    assert not (place / "runs").exists()
    done = one_thread("search", "study.yaml", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == "adoption"
    assert found["chosen"]["state_bytes"] <= found["budgets"][1]["bytes"]
    assert {Path(file).name for file in found["files"]} == {"index.html", "plan.yaml", "plan-1.yaml", "plan-2.yaml"}
    page = (place / "reports" / "small" / "index.html").read_text()
    assert "<svg" in page
    assert "What each layer caches" in page
    shown = one_thread("report", "reports/small", "--out", "page.html", "--figures", "figures", cwd=place)
    assert shown.returncode == 0, shown.stderr
    assert (place / "page.html").read_text() == page
    assert "Chosen: " in shown.stdout
    assert {file.name for file in (place / "figures").iterdir()} == {"front.svg", "map.svg", "check.svg"}
    assert "dtype: bfloat16" in (place / "reports" / "small" / "plan.yaml").read_text()
    told = one_thread("status", "study.yaml", cwd=place)
    assert told.returncode == 0, told.stderr
    assert "small: finished" in told.stdout
    assert "costs of replacements" in told.stdout
    assert json.loads(one_thread("status", "small", "--json", cwd=place).stdout)["stages"][1]["done"] == 8
    again = one_thread("search", "study.yaml", "--reselect", "--set", "budgets=[0.6]", cwd=place)
    assert again.returncode == 0, again.stderr
    assert (place / "reports" / "small" / "reselected" / "index.html").exists()
    written = one_thread(
        "export", "reports/small/plan.yaml", "--to", "huggingface", "--out", "out", "--json", cwd=place
    )
    assert written.returncode == 0, written.stderr
    judged = one_thread("check", "out", "--length", "100", "--beta", "0.5", "--json", cwd=place)
    state = json.loads(judged.stdout)["state_bytes"]
    assert state == found["chosen"]["state_bytes"]


def test_plans_are_runs_in_mlflow(place: Path) -> None:
    sets = ["--set", "budgets=[0.45]", "--set", "correction={random_plans: 0, trials: 1}"]
    done = one_thread("search", "study.yaml", *sets, cwd=place)
    assert done.returncode == 0, done.stderr
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    experiment = client.get_experiment_by_name("l2m-design/small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    plans = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(runs) == len(plans) + 1
    assert all("test_late_loss_above" in run.data.metrics for run in plans)
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "start=nowhere/at/all"], "start: nowhere/at/all: no such file or folder"),
        (["--set", "length=200"], "length: 200: "),
        (["--set", "budgets=[0.01]"], "budgets.0: 0.01: "),
        (["--set", "option=1"], "unknown key 'option'; did you mean 'options'"),
        (["--storage", "sqlite:///x.db"], "--storage: a study with the key start stores its results in --runs"),
        (["--resume"], "--resume: runs/small contains no study"),
        (["--reselect"], "--reselect: runs/small contains no study; search it first"),
        (["--tracking", "nowhere"], "--tracking nowhere: unknown kind of store"),
    ],
)
def test_what_cannot_be_is_one_line(place: Path, words: list[str], message: str) -> None:
    done = one_thread("search", "study.yaml", *words, cwd=place)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (place / "reports").exists()


def test_a_plan_is_no_drawing(place: Path) -> None:
    (place / "plan.yaml").write_text("start: model\nplan: [{cache: full}]\n")
    done = one_thread("export", "plan.yaml", "--to", "card", cwd=place)
    assert done.returncode == 2
    assert "--to: found 'card', allowed for a plan: huggingface, remote, native" in done.stderr
    done = one_thread("export", "plan.yaml", "--to", "remote", "--weights", "fresh", cwd=place)
    assert "--weights: not allowed for a plan" in done.stderr
