"""Candidates that take too much memory: infeasible with the reason, never chosen, named where they were needed."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.report import words
from l2m_design.report.page import write_page
from l2m_design.search.executors import processes
from l2m_design.search.executors.processes import Outcome
from l2m_design.search.results.reselect import reselected

REMEDY = "; set recipe.recompute: true to use less memory, or use a larger GPU"
FINALISTS = "finalists={top: 2, seeds: 3, tokens: 4096, lengths: [32, 64], rates: [0.5, 1.0]}"


def test_who_took_more_memory_than_allowed_is_infeasible_and_never_chosen(opened, jobs) -> None:
    search = opened("search.trials=1", "search.memory_gib=0.5")
    summary = search.run()
    assert summary["trials"]["complete"] == 8
    assert not any(record["feasible"] for record in summary["records"])
    assert summary["chosen"] is None
    settings = search.settings.model_copy(update={"choice": search.settings.choice.model_copy(update={"delta": 1.0})})
    again = reselected(settings, search.space, search.storage_url, search.folder.path, search.report_folder, print)
    assert again.chosen is None


STARVED = Outcome(reason="out of memory: CUDA out of memory. Tried to allocate 2.00 GiB.", out_of_memory=True)


def starving(monkeypatch: pytest.MonkeyPatch, letter: str) -> None:
    """Memory runs out for every model with this type of layer."""
    trained = processes.run_isolated

    def starve(job: Any, *arguments: Any, **named: Any) -> Outcome:
        outcome = trained(job, *arguments, **named)
        return STARVED if letter in Architecture.parse(job.architecture, "job").picture else outcome

    monkeypatch.setattr(processes, "run_isolated", starve)


def test_who_runs_out_of_memory_is_infeasible_and_not_drawn_again(opened, jobs, monkeypatch) -> None:
    starving(monkeypatch, "M")
    rates = "search.rates=[0.5, 1.0]"
    search = opened("search.trials=4", "search.known_designs=false", rates, "search.enforce=[]", "search.seed=1")
    summary = search.run()
    starved = [record for record in summary["records"] if "M" in record["picture"]]
    assert {record["state"] for record in starved} == {"infeasible"}
    assert not any(record["feasible"] for record in starved)
    assert len({record["fingerprint"] for record in starved}) == len(starved) > 0
    assert summary["trials"] == {"complete": 4, "pruned": 0, "infeasible": len(starved), "failed": 0}
    told = optuna.load_study(study_name="tiny", storage=search.storage_url).trials
    memory = {trial.number: trial.constraints["memory"] for trial in told}
    assert {number for number, lacks in memory.items() if lacks > 0} == {record["number"] for record in starved}
    assert f"{len(starved)} out of memory" in words.rejected(search.summary)


def test_a_baseline_that_runs_out_of_memory_is_named_as_missing_and_no_finalist(opened, jobs, monkeypatch) -> None:
    starving(monkeypatch, "A")
    search = opened(FINALISTS, "search.trials=1", "choice.reference=full attention")
    summary = search.run()
    said = [note for note in summary["notes"] if note.startswith("all attention has no result")]
    assert said == [f"all attention has no result, so no model is compared with it: {STARVED.reason}{REMEDY}"]
    assert summary["choice"]["said"] == ["Nothing can be chosen, since the training of the reference did not finish."]
    assert "all attention" not in {row["name"] for row in summary["finalists"]}
    write_page(search.summary, Path(summary["report"]))
    assert "all attention has no result" in Path(summary["report"]).read_text()


def test_a_space_whose_training_memory_cannot_hold_is_refused(opened, jobs) -> None:
    with pytest.raises(BadInput, match=r"search\.memory_gib: 0\.0001 GiB are too few to train any architecture"):
        opened("search.memory_gib=0.0001").run()
    assert jobs == []
