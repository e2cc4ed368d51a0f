"""A run of l2m.train in MLflow: shown once, whatever happens on the way, and never in the way of the training."""

from pathlib import Path
from typing import Any

import pytest

import l2m_design as l2m

RECIPE: dict[str, Any] = {"length": 32, "tokens": 1024, "batch_tokens": 128, "windows": 8}
LAYER = {"kind": "attention", "heads": 2, "kv_heads": 2, "head_dim": 8}
DRAWING = l2m.Architecture(vocabulary=256, width=16, layers=[LAYER])


def runs(uri: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    return list(client.search_runs([client.get_experiment_by_name("l2m-design").experiment_id]))


def test_a_run_that_was_interrupted_stands_there_once(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = "sqlite:///mlflow.db"

    def cut(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        l2m.train(DRAWING, text_folder, out="made", tracking=uri, on_step=cut, **RECIPE)
    assert [run.info.status for run in runs(uri)] == ["KILLED"]
    found = l2m.train(DRAWING, text_folder, out="made", tracking=uri, **RECIPE)
    (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["late_loss"] == pytest.approx(found.result.late_loss)
    assert run.data.params["recipe.length"] == "32"


def test_a_store_that_does_not_answer_costs_no_run(text_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="tracking: "):
        found = l2m.train(DRAWING, text_folder, tracking=f"sqlite:///{tmp_path}/file/mlflow.db", **RECIPE)
    assert found.result.late_loss > 0
    with pytest.raises(l2m.BadInput, match="`tracking` ftp://there: unknown kind of store"):
        l2m.train(DRAWING, text_folder, tracking="ftp://there", **RECIPE)
