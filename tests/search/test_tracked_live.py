"""What MLflow shows of a study while it runs, and how its runs are nested, named and found again."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from l2m_design.library.search import finished
from l2m_design.search.executors import processes
from l2m_design.search.executors.processes import Outcome
from l2m_design.search.tracking import live
from l2m_design.search.tracking.live import Pace, System
from l2m_design.search.tracking.runs import PARENT, RUN
from l2m_design.search.tracking.source import source_tags
from l2m_design.training.run import Rung
from tests.search.conftest import result
from tests.search.sent import TINY, runs_of

FINALISTS = "finalists={top: 1, seeds: 2, tokens: 4096, lengths: [32], baselines: [all attention]}"


def shown(uri: str, key: str) -> Any:
    return next((run for run in runs_of(uri) if run.data.tags.get(RUN) == key), None)


def test_a_trial_is_shown_with_its_curve_and_stage_while_it_runs(
    opened, store: str, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY", 0.0)
    monkeypatch.setattr(live, "LONGER", 0.0)
    seen: list[Any] = []

    def watched(job, on_rung, on_step, time_limit=None, stop=None) -> Outcome:
        if not seen:
            on_step(2, 8, [(512, 3.5)])
            on_step(4, 8, [(1024, 3.25)])
            assert on_rung(Rung(4, 1024, 3.0))
            until(lambda: (run := shown(store, "0")) and "rung_late_loss" in run.data.metrics, 60)
            seen.append((shown(store, "0"), shown(store, PARENT)))
        return Outcome(result=result(2.0) | {"curve": [(512, 3.5), (1024, 3.25), (2048, 2.5)]})

    monkeypatch.setattr(processes, "run_isolated", watched)
    opened("search.trials=0").run()
    [(trial, parent)] = seen
    assert (trial.info.status, parent.info.status) == ("RUNNING", "RUNNING")
    assert trial.data.tags["stage"] == "training"
    assert trial.data.tags["state"] == "running"
    assert parent.data.tags["stage"] == "trials"
    assert trial.data.metrics["train_loss"] == 3.25
    assert trial.data.metrics["rung_late_loss"] == 3.0
    assert {"parameters", "state_bytes_target", "growth_exponent", "reach_tokens_hard"} <= trial.data.metrics.keys()
    history = MlflowClient(store).get_metric_history(trial.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in history] == [(512, 3.5), (1024, 3.25), (2048, 2.5)]
    assert shown(store, "0").data.tags["state"] == "complete"


def test_finalists_are_nested_by_design_and_the_chosen_one_is_marked(opened, jobs, store: str) -> None:
    summary = opened("search.trials=1", FINALISTS).run()
    runs = {run.info.run_id: run for run in runs_of(store)}
    parent = shown(store, PARENT).info.run_id
    finals = [run for run in runs.values() if run.data.tags.get("stage", "").startswith("finalist: ")]
    assert len(finals) >= 2 * 3  # the seed that picks, and two fresh ones
    for run in finals:
        above = runs[run.data.tags["mlflow.parentRunId"]]
        assert above.data.tags["mlflow.parentRunId"] == parent
        assert above.data.tags["design"] == run.data.tags["design"]
        assert above.data.params["fingerprint"] == run.data.params["fingerprint"]
    designs = [run for run in runs.values() if run.data.tags.get("stage") == "finalist"]
    assert {run.data.tags["design"] for run in designs} == {row["name"] for row in summary["finalists"]}
    chosen = summary["chosen"]
    marked = [run for run in runs.values() if run.data.tags.get("chosen") == "yes"]
    assert {run.data.params["fingerprint"] for run in marked} == {chosen["fingerprint"]}
    assert any(run in designs for run in marked)
    row = next(run for run in designs if run in marked)
    assert row.data.metrics["test_late_loss"] == pytest.approx(chosen["test_loss"]["value"], abs=1e-4)
    assert row.data.metrics["effective_context"] == chosen["effective_context"]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_runs_are_named_by_layers_and_state_and_hold_only_choices_of_their_layers(opened, trained, store: str) -> None:
    summary = opened("search.trials=2").run()
    for record in summary["records"]:
        run = shown(store, str(record["number"]))
        assert run.info.run_name.startswith(f"{record['picture']} · ")
        assert run.info.run_name.endswith("iB")
        assert run.data.tags["trial"] == f"{record['number']:03d}"
        for number, layer in enumerate(record["architecture"]["layers"]):
            params = {key.split(".")[1] for key in run.data.params if key.startswith(f"layer{number}.")}
            had = {"kind"} | ({"kv_heads"} if "kv_heads" in layer else set())
            assert params == had | ({"exponent"} if layer["kind"] == "sparse_attention" else set())


def test_the_experiment_opens_as_one_of_training_and_offers_views(opened, trained, store: str) -> None:
    summary = opened("search.trials=0").run()
    tags = MlflowClient(store).get_experiment_by_name(TINY).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(tags["mlflow.sharedViewState.l2m-trials"])
    state = json.loads(view["state"])
    run = shown(store, str(summary["chosen"]["trial"]))
    kinds = {"metrics": run.data.metrics, "tags": run.data.tags}
    for column in state["selectedColumns"]:
        kind, name = column.split(".", 1)
        assert name.strip("`") in {**kinds[kind], "design": "", "chosen": ""}, column
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(TINY).experiment_id
    found = client.search_runs([experiment], state["searchFilter"])
    assert len(found) == len(summary["records"])


def test_a_published_study_has_its_answer_page_and_corpus_in_its_run(opened, trained, store: str) -> None:
    search = opened("search.trials=0")
    search.run()
    found = finished(search, search.summary)
    run, client = shown(store, PARENT), MlflowClient(store)
    note = run.data.tags["mlflow.note.content"]
    assert found.sentences[0] in note
    assert f"`{found.chosen.picture}`" in note
    assert client.get_experiment_by_name(TINY).tags["mlflow.note.content"] == note
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {"index.html", "study.json", "architecture.yaml", "card.json", "figures"}
    figures = [file.path for file in client.list_artifacts(run.info.run_id, "figures")]
    assert figures
    assert all(file.endswith(".svg") for file in figures)
    [used] = run.inputs.dataset_inputs
    assert used.dataset.name == search.corpus.name
    assert search.corpus.fingerprint.startswith(used.dataset.digest)
    assert found.runs_page
    assert found.runs_page.endswith("runs?workflowType=machine_learning&viewStateShareKey=l2m-trials")
    assert not any(note.startswith("tracking") for note in found.data["notes"])


def test_a_slow_store_is_written_to_in_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    pace = Pace()
    assert pace.due

    def send() -> None:
        clock[0] += 2.0

    pace.timed(send)
    assert not pace.quick
    clock[0] += 2.0 * live.LONGER - 1.0
    assert not pace.due
    clock[0] += 2.0
    assert pace.due
    pace.timed(lambda: None)
    assert pace.quick
    assert not pace.due


def test_the_load_of_the_machine_has_the_names_that_mlflow_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert System().sample() == {}  # as the tests' environment asks
    monkeypatch.setenv(live.SWITCH, "true")
    found = System().sample()
    assert "system/cpu_utilization_percentage" in found
    assert 0 < found["system/system_memory_usage_percentage"] <= 100


def test_a_run_names_the_commit_of_the_folder_it_was_started_in(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert source_tags("l2m search", tmp_path)["mlflow.source.git.commit"] == commit
    assert "mlflow.source.git.commit" not in source_tags("l2m search", Path("/"))
