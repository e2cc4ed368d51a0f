"""MLflow: a parent run a study, a nested run a trial; a failing store fails no trial."""

import time

import pytest
from mlflow import MlflowClient

from l2m_design.search.tracking.content import Shown
from l2m_design.search.tracking.store import PATIENCE
from l2m_design.search.tracking.tracker import StudyRun, Tracker
from l2m_design.terms import Terms
from tests.search.sent import TINY


@pytest.fixture
def searched(opened):
    search = opened("search.trials=0")
    return search, search.run()


def test_every_trial_is_a_nested_run_with_its_numbers(searched, tmp_path) -> None:
    _, summary = searched
    client = MlflowClient(summary["tracking_uri"])
    experiment = client.get_experiment_by_name(TINY)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=500)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    assert parents[0].data.params["recipe.tokens"] == "2048"
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(children) == len(summary["records"])
    best = next(run for run in children if run.data.tags["trial"] == f"{summary['chosen']['trial']:03d}")
    assert best.data.metrics["late_loss"] == pytest.approx(summary["chosen"]["loss"])
    needed = {"growth_exponent", "growth_slack", "state_bytes_1024", "state_bytes_65536", "level_slack_1024",
              "objective", "parameters"}  # fmt: skip
    assert needed <= set(best.data.metrics)
    assert "layer0.kind" in best.data.params
    assert len(client.get_metric_history(best.info.run_id, "train_loss")) > 1
    assert [a.path for a in client.list_artifacts(best.info.run_id)] == ["architecture.yaml"]


def test_runs_are_sent_once(searched) -> None:
    search, summary = searched
    again = search.run()
    client = MlflowClient(again["tracking_uri"])
    experiment = client.get_experiment_by_name(TINY)
    runs = client.search_runs([experiment.experiment_id], max_results=500)
    assert len(runs) == len(summary["records"]) + 1


def test_a_store_that_fails_costs_no_trial_and_is_caught_up_later(opened, tmp_path) -> None:
    search = opened("search.trials=0", tracking="sqlite:////proc/nowhere/mlflow.db")
    summary = search.run()
    assert summary["trials"]["complete"] == 7
    assert any(note.startswith("tracking:") for note in summary["notes"])
    mended = opened("search.trials=0")
    summary = mended.run()
    assert not any(note.startswith("tracking:") for note in summary["notes"])
    client = MlflowClient(summary["tracking_uri"])
    runs = client.search_runs([client.get_experiment_by_name(TINY).experiment_id])
    assert len(runs) == 1 + 7


def test_trouble_is_one_line(tmp_path) -> None:
    tracker = Tracker("nonsense://x", StudyRun("study"), Shown(Terms()), tmp_path / "ledger.json")
    tracker.finish({}, [])
    assert tracker.trouble
    assert "\n" not in tracker.trouble


def test_a_new_or_emptied_store_is_sent_everything(searched, tmp_path) -> None:
    search, summary = searched
    (tmp_path / "mlflow.db").unlink()
    client = MlflowClient(f"sqlite:///{tmp_path}/other.db")
    search._tracking_uri = f"sqlite:///{tmp_path}/other.db"
    again = search.run()
    assert not any(note.startswith("tracking:") for note in again["notes"])
    runs = client.search_runs([client.get_experiment_by_name(TINY).experiment_id], max_results=500)
    assert len(runs) == len(summary["records"]) + 1


def test_an_unreachable_server_holds_up_a_search_for_seconds_and_is_then_left_alone(tmp_path, monkeypatch) -> None:
    for name in PATIENCE:
        monkeypatch.delenv(name, raising=False)
    tracker = Tracker("http://127.0.0.1:9", StudyRun("study"), Shown(Terms()), tmp_path / "ledger.json")
    began = time.monotonic()
    tracker.sync([])
    assert time.monotonic() - began < 20
    assert tracker.trouble
    assert "Max retries exceeded" in tracker.trouble
    assert "\n" not in tracker.trouble
    asked: list[str] = []
    monkeypatch.setattr(Tracker, "_parent", lambda self: asked.append("again"))
    tracker.sync([])
    tracker.finish({}, [])
    assert not asked
    tracker.sync([], last=True)
    assert asked == ["again"]
    assert tracker.trouble is None
