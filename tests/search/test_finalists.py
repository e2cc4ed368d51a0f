"""Who is on the front, who becomes a finalist, and at which learning rate."""

import json
from dataclasses import asdict
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.search.record import Record, Records
from l2m_design.search.results import finalists
from l2m_design.search.results.finalists import FinalJob, FinalRun
from l2m_design.search.settings import StudySettings
from l2m_design.training.result import Result

STUDY = {
    "name": "s", "corpus": "stdlib", "space": "x", "demand": {"beta": 0.5},
    "finalists": {"top": 2, "seeds": 3, "lengths": [128, 64], "rates": [0.5, 1.0]},
}  # fmt: skip


def drawing(heads: int) -> Architecture:
    layer = {"kind": "attention", "heads": heads, "kv_heads": 1, "head_dim": 8}
    return Architecture.parse({"vocabulary": 10, "width": 16, "layers": [layer]}, "test")


def record(number: int, loss: float, size: int, **changes: Any) -> Record:
    own = drawing(number + 1)
    fields: dict[str, Any] = {
        "number": number, "state": "complete", "architecture": own.plain(), "picture": "A",
        "fingerprint": own.fingerprint, "parameters": 1, "state_bytes": size, "verdict": {}, "feasible": True,
        "params": {}, "value": loss, "result": {"late_loss": loss},
    }  # fmt: skip
    return Record(**{**fields, **changes})


def result(loss: float) -> Result:
    return Result(loss, [loss], loss, [loss], [loss], 1.0, [], 1, 1, 1.0, 0.1, 1, "cpu", 0)


def test_the_front_holds_what_nothing_beats() -> None:
    records = [record(0, 2.0, 100), record(1, 1.9, 200), record(2, 2.1, 150), record(3, 1.0, 50, feasible=False),
               record(4, 1.8, 400, state="pruned")]  # fmt: skip
    assert [r.number for r in finalists.front(records)] == [0, 1]


def test_finalists_are_the_designs_and_the_best_that_are_no_designs() -> None:
    settings = StudySettings.parse(STUDY, "test")
    records = [record(0, 1.0, 100), record(1, 1.1, 90), record(2, 1.2, 80), record(3, 0.5, 9, feasible=False)]
    designs = {"all attention": drawing(1), "the same again": drawing(1)}  # drawing(1) is trial 0's too
    entered = finalists.entrants(settings, records, designs, {})
    assert list(entered) == ["all attention", "trial 1", "trial 2", "trial 3"]  # trial 3: the best of all, infeasible


def test_baselines_that_are_named_alone_are_trained_again_and_the_best_of_all_with_them() -> None:
    asked = {"finalists": {"top": 1, "baselines": ["b"]}}
    settings = StudySettings.parse(STUDY | asked, "test")
    designs = {"a": drawing(1), "b": drawing(2), "c": drawing(3)}
    records = [record(0, 1.0, 100, design="a"), record(1, 1.1, 90, design="b"), record(5, 1.2, 80)]
    assert list(finalists.entrants(settings, records, designs, {})) == ["b", "a", "trial 5"]


def test_pareto_finalists_lie_along_the_front() -> None:
    settings = StudySettings.parse(STUDY | {"search": {"mode": "pareto", "pruner": "none"}}, "test")
    records = [record(n, 2.0 - 0.1 * n, 100 + n) for n in range(5)]
    assert list(finalists.entrants(settings, records, {}, {})) == ["trial 0", "trial 4"]


def test_each_finalist_takes_its_own_best_learning_rate_to_every_seed_and_length() -> None:
    settings = StudySettings.parse(STUDY, "test")
    entered = {"a": drawing(1), "b": drawing(2)}
    first = finalists.tuning_jobs(settings, entered)
    assert {(job.name, job.rate) for job in first} == {("a", 0.5), ("a", 1.0), ("b", 0.5), ("b", 1.0)}
    assert {job.length for job in first} == {64}
    losses = {("a", 0.5): 1.0, ("a", 1.0): 2.0, ("b", 0.5): 2.0, ("b", 1.0): 1.0}
    runs = [FinalRun(job, result(losses[job.name, job.rate])) for job in first]
    jobs = finalists.seed_jobs(settings, entered, runs)
    assert {(job.name, job.rate) for job in jobs} == {("a", 0.5), ("b", 1.0)}
    assert len(jobs) == 2 * (3 * 2 + 1)  # fresh seeds at both lengths, and the one that picks at the longest
    tuned = {job.fingerprint for job in first}
    assert not tuned & {job.fingerprint for job in jobs}  # the seed that picks confirms nothing
    assert {job.seed for job in jobs if job.length == 64} == {1, 2, 3}
    assert {job.seed for job in jobs if job.length == 128} == {0, 1, 2, 3}


def test_a_failed_tuning_run_is_no_candidate_rate() -> None:
    settings = StudySettings.parse(STUDY, "test")
    job = finalists.tuning_jobs(settings, {"a": drawing(1)})[0]
    assert finalists.seed_jobs(settings, {"a": drawing(1)}, [FinalRun(job, None, "killed")]) == []


def test_a_run_is_known_by_drawing_length_rate_and_seed_not_by_name() -> None:
    one = FinalJob("a", drawing(1).plain(), 64, 1.0, 0)
    assert one.fingerprint == FinalJob("b", drawing(1).plain(), 64, 1.0, 0).fingerprint
    assert one.fingerprint != FinalJob("a", drawing(1).plain(), 64, 1.0, 1).fingerprint


def test_a_finalists_recipe_has_its_own_length_rate_and_seed() -> None:
    settings = StudySettings.parse(STUDY | {"recipe": {"learning_rate": 0.01, "seed": 5}}, "test")
    recipe = FinalJob("a", {}, 4096, 0.5, 2).recipe(finalists.final_recipe(settings))
    assert (recipe.length, recipe.learning_rate, recipe.seed) == (4096, 0.005, 7)
    assert recipe.tokens == 4 * settings.recipe.tokens
    assert recipe.batch >= 1


def test_a_record_survives_its_way_through_the_database() -> None:
    old = record(3, 2.0, 100, rungs=[(10, 2.5)], rate=0.5)
    again = Record(**json.loads(json.dumps(asdict(old))))
    records = Records([again])
    assert records.duplicate(old.fingerprint, 0.5) is again
    assert records.duplicate(old.fingerprint, 1.0) is None
    assert 3 in records
