"""`l2m report --resend`: a store that is empty holds the same again."""

import json
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from l2m_design.errors import BadInput, WorkFailed
from l2m_design.library.adopt import finished as adoption_finished
from l2m_design.library.resend import resend
from l2m_design.library.search import finished
from l2m_design.search.tracking.runs import PARENT, STUDY
from tests.search.adopted import study
from tests.search.sent import runs_of, sent_runs
from tests.search.test_tracked_live import FINALISTS, shown


def test_an_empty_store_is_sent_all_that_the_first_one_held(opened, jobs, store: str, tmp_path: Path) -> None:
    search = opened("search.trials=1", "recipe.rungs=[0.5]", FINALISTS)
    search.run()
    finished(search, search.summary)
    identity = shown(store, PARENT).data.tags[STUDY]
    other = f"sqlite:///{tmp_path}/other.db"
    MlflowClient(other).search_experiments()
    uri, page, notes = resend(tmp_path / "reports/tiny", tracking=other, runs=tmp_path / "runs")
    assert (uri, notes) == (other, [])
    assert page is not None
    assert sent_runs(other, identity) == sent_runs(store, identity)
    for key in ("mlflow.note.content", "mlflow.source.name", "stage"):
        assert shown(other, PARENT).data.tags[key] == shown(store, PARENT).data.tags[key]
    resend(tmp_path / "reports/tiny", tracking=other, runs=tmp_path / "runs")
    assert len(runs_of(other)) == len(runs_of(store))


def test_without_the_folder_of_runs_the_report_alone_is_sent_and_that_is_told(
    opened, jobs, store: str, tmp_path: Path
) -> None:
    search = opened("search.trials=0", FINALISTS)
    found = finished(search, search.run() and search.summary)
    for _ in range(2):
        _, _, notes = resend(tmp_path / "reports/tiny/study.json", tracking=store, runs=tmp_path / "elsewhere")
        assert notes == ["the training runs of 2 finalists are left out, since `runs` does not contain them"]
    identities = Counter(run.data.tags[STUDY] for run in runs_of(store))
    assert len(identities) == 2  # the search's, and one for what was sent again, however often
    assert min(identities.values()) == 1 + len(found.data["records"]) + 2


def test_what_cannot_be_sent_again_is_refused_in_one_line(opened, trained, store: str, tmp_path: Path) -> None:
    search = opened("search.trials=0")
    search.run()
    report = tmp_path / "reports/tiny/study.json"
    with pytest.raises(BadInput, match="`tracking` ftp://x: unknown kind of store"):
        resend(report, tracking="ftp://x", runs=tmp_path / "runs")
    with pytest.raises(WorkFailed, match=r"`tracking` sqlite:////proc/nowhere/m[.]db: "):
        resend(report, tracking="sqlite:////proc/nowhere/m.db", runs=tmp_path / "runs")
    data = json.loads(report.read_text())
    data["records"][0]["fingerprint"] = "another"
    report.write_text(json.dumps(data))
    with pytest.raises(BadInput, match="contains another study of the name tiny"):
        resend(report, tracking=store, runs=tmp_path / "runs")


def test_a_search_of_a_models_cache_is_shown_and_sent_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    store, other = "sqlite:///mlflow.db", "sqlite:///other.db"
    work = study(place, "budgets=[0.45]", "correction={random_plans: 0, trials: 1}")
    found = adoption_finished(work, work.run())
    plans = [run for run in runs_of(store) if run.data.params.get("plan")]
    assert {run.data.tags["stage"] for run in plans} == {"test"}
    assert all(run.info.run_name.endswith("iB") or run.info.run_name.endswith(" B") for run in plans)
    chosen = [run for run in plans if run.data.tags.get("chosen") == "yes"]
    assert len(chosen) == (1 if found.chosen else 0)
    parent = shown(store, PARENT)
    assert found.sentences[-1] in parent.data.tags["mlflow.note.content"]
    assert {"index.html", "plan-1.yaml"} <= {f.path for f in MlflowClient(store).list_artifacts(parent.info.run_id)}
    assert found.runs_page
    assert found.runs_page.endswith("l2m-plans")
    MlflowClient(other).search_experiments()
    resend("reports/small", tracking=other)
    identity = parent.data.tags[STUDY]
    assert sent_runs(other, identity) == sent_runs(store, identity)
