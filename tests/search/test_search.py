"""A whole study in small: every planned trial once, what it finds, and what survives interruption."""

import sqlite3
import time
from dataclasses import replace
from typing import Any

import pytest

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.search.run import Interrupted
from l2m_design.search.study.queue import Queue
from l2m_design.search.trials import processes
from l2m_design.search.trials.processes import Outcome

DESIGNS = {
    "all attention",
    "all Mamba-2",
    "1 attention in 8",
    "window + attention 3:1",
    "Mamba-2 + window",
    "all sparse at the demand",
}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Training replaced by a formula of the drawing: fast, and exactly repeatable. Lists the jobs asked for."""
    jobs: list[dict[str, Any]] = []

    def pretend(job, on_rung, on_step, time_limit=None, stop=None) -> Outcome:
        jobs.append(job.architecture)
        drawing = Architecture.parse(job.architecture, "job")
        loss = 2.0 + 0.1 * drawing.picture.count("W") - 0.05 * drawing.picture.count("M")
        from l2m_design.training.run import Rung

        if not on_rung(Rung(4, 1024, loss + 0.5)):
            return Outcome(stopped=True)
        return Outcome(result=result(loss, drawing.parameters))

    monkeypatch.setattr(processes, "run_isolated", pretend)
    return jobs


def result(loss: float, parameters: int = 1) -> dict[str, Any]:
    return {
        "late_loss": loss, "late_by_document": [loss, loss], "test_late_loss": loss,
        "test_late_by_document": [loss, loss + 0.1], "loss_by_position": [loss] * 8, "mi_captured_nats": 1.0,
        "curve": [(1024, loss)], "parameters": parameters, "tokens": 2048, "train_seconds": 1.0,
        "evaluate_seconds": 0.1, "peak_memory_bytes": 1, "device": "cpu", "seed": 0,
    }  # fmt: skip


def test_a_study_trains_the_known_designs_first_and_keeps_its_promises(opened, trained) -> None:
    search = opened()
    summary = search.run()
    assert {row["design"] for row in summary["baselines"]} == DESIGNS
    assert [r["design"] is not None for r in summary["records"][:6]] == [True] * 6
    assert len(trained) == 8
    counts = summary["trials"]
    assert sum(counts.values()) + summary["duplicates"] == len(summary["records"])
    assert counts["complete"] + counts["pruned"] + counts["failed"] == 8
    promised = {"study", "trials", "front", "chosen", "baselines", "report", "tracking_uri", "seconds"}
    assert promised <= set(summary)
    assert set(summary["seconds"]) == {"total", "training", "evaluating", "overhead"}
    assert {"architecture", "loss", "state_bytes"} <= set(summary["chosen"])


def test_the_choice_is_the_least_state_that_is_not_worse_than_full_attention(opened, trained) -> None:
    search = opened("search.trials=12", "choice.delta=0.01")
    summary = search.run()
    chosen = summary["chosen"]
    assert chosen["feasible"]
    assert chosen["growth_exponent"] >= 0.5
    attention = next(row for row in summary["baselines"] if row["design"] == "all attention")
    eligible = [r for r in summary["records"] if r["state"] == "complete" and r["feasible"]]
    good = [r for r in eligible if r["result"]["late_loss"] <= attention["loss"] + 0.01]
    assert chosen["state_bytes"] == min(r["state_bytes"] for r in good)
    assert summary["choice"]["among"] == "trials"
    assert any(r["result"]["late_loss"] > attention["loss"] + 0.01 for r in eligible)


def test_known_designs_that_fail_the_condition_are_trained_but_never_chosen(opened, trained) -> None:
    search = opened()
    summary = search.run()
    mamba = next(row for row in summary["baselines"] if row["design"] == "all Mamba-2")
    assert mamba["state"] == "complete"
    assert not mamba["feasible"]
    assert mamba["trial"] not in [row["trial"] for row in summary["front"]]


def test_nearly_all_asked_drawings_are_feasible_and_the_others_are_never_built(opened, trained) -> None:
    search = opened("search.trials=14", "search.seed=3", "search.sampler=tpe")
    summary = search.run()
    assert summary["rejected_unasked"] > 0
    asked = [r for r in summary["records"] if r["design"] is None]
    assert len(asked) == summary["asked"]["drawings"] >= 8
    assert summary["asked"]["feasible"] >= 0.9 * len(asked)
    assert all(r["verdict"]["growth_exponent"] >= 0.5 for r in asked)


def test_a_duplicate_reuses_its_result(opened, trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2m_design.search.workers.worker.STALLED", 20)
    search = opened(
        "search.trials=60", 'space.kinds={a: {kind: attention, heads: 2, kv_heads: $kv_heads, head_dim: 8}}',
        "space.choices={kv_heads: [1, 2], unused: [1, 2, 3]}", "search.pruner=none",
    )  # fmt: skip
    summary = search.run()
    assert len(trained) == 4  # two layers, two kinds of heads
    copies = [r for r in summary["records"] if r["copy_of"] is not None]
    assert copies
    by_number = {r["number"]: r for r in summary["records"]}
    assert all(copy["value"] == by_number[copy["copy_of"]]["value"] for copy in copies)


def test_an_interrupted_search_keeps_its_trials_and_goes_on_to_the_same_plan(
    opened, trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = opened()
    pretend = processes.run_isolated

    def interrupted(*arguments) -> Outcome:
        if len(trained) == 3:
            raise KeyboardInterrupt
        return pretend(*arguments)

    monkeypatch.setattr(processes, "run_isolated", interrupted)
    with pytest.raises(Interrupted, match="3 of 8 trials are kept"):
        search.run()
    monkeypatch.setattr(processes, "run_isolated", pretend)
    again = opened()
    summary = again.run(resume=True)
    assert {row["design"] for row in summary["baselines"]} == DESIGNS
    assert len(summary["baselines"]) == 6
    assert len(trained) == 8
    assert len({r["number"] for r in summary["records"]}) == len(summary["records"])


def test_a_record_without_a_told_end_is_told_on_the_next_start(opened, trained, monkeypatch) -> None:
    """As if killed between keeping the record and telling Optuna."""
    tell = Queue.tell

    def die(self, number, values, pruned=False) -> bool:
        if number == 2:
            raise KeyboardInterrupt
        return tell(self, number, values, pruned)

    monkeypatch.setattr(Queue, "tell", die)
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        opened().run()
    monkeypatch.setattr(Queue, "tell", tell)
    again = opened()
    monkeypatch.setattr("l2m_design.search.study.queue.dead_here", lambda worker: True)
    summary = again.run()
    assert len(trained) == 8
    database = sqlite3.connect(again.folder.path / "optuna.db")
    states = [state for (state,) in database.execute("select state from trials where study_id = 1 order by number")]
    assert "RUNNING" not in states
    assert states[2] == "COMPLETE"
    assert len(summary["baselines"]) == 6


def test_a_finished_study_is_not_searched_again(opened, trained) -> None:
    for _ in range(2):
        search = opened()
        summary = search.run()
    assert len(trained) == 8
    assert len(summary["records"]) >= 8


def test_more_trials_may_be_asked_of_a_finished_study(opened, trained) -> None:
    for trials in (7, 9):
        search = opened(f"search.trials={trials}")
        search.run()
    assert len(trained) == 9


def test_the_same_name_with_other_settings_is_refused(opened, trained) -> None:
    opened().run()
    with pytest.raises(BadInput, match=r"other settings \(study\.recipe\.tokens: 2048 -> 4096\)"):
        opened("recipe.tokens=4096").run()
    search = opened("recipe.tokens=4096")
    search.run(fresh=True)
    assert (search.folder.path.parent / "tiny.1" / "identity.json").exists()


def test_a_folder_that_is_no_study_is_left_alone(opened, trained) -> None:
    search = opened()
    search.folder.path.mkdir(parents=True)
    (search.folder.path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="holds files that are no study"):
        search.run()
    assert (search.folder.path / "thesis.tex").exists()


def test_resume_needs_a_study(opened) -> None:
    with pytest.raises(BadInput, match="--resume: there is no study"):
        opened().run(resume=True)


def test_two_searches_of_one_study_exclude_each_other(opened, trained) -> None:
    one, two = opened(), opened()
    with one.folder.alone(), pytest.raises(BadInput, match="another process"):
        two.run()


def test_designs_that_fail_the_condition_set_no_bar_for_those_that_meet_it(opened, trained, monkeypatch) -> None:
    """The infeasible ones learn fast here: were they counted, the median would stop every feasible candidate."""
    pretend = processes.run_isolated

    def fast_when_infeasible(job, on_rung, *rest) -> Outcome:
        drawing = Architecture.parse(job.architecture, "job")
        shift = -5.0 if drawing.state.exponent < 0.5 else 0.0
        return pretend(job, lambda rung: on_rung(replace(rung, late_loss=rung.late_loss + shift)), *rest)

    monkeypatch.setattr(processes, "run_isolated", fast_when_infeasible)
    summary = opened("search.trials=16", "search.warmup_trials=2").run()
    searched = [r for r in summary["records"] if r["design"] is None and r["state"] != "infeasible"]
    assert any(r["state"] == "complete" for r in searched)


def test_the_asha_rule_stops_the_worse_half(opened, trained) -> None:
    summary = opened("search.trials=16", "search.pruner=asha").run()
    pruned = [r for r in summary["records"] if r["state"] == "pruned"]
    assert pruned
    assert all("behind the asha rule" in r["reason"] for r in pruned)


def test_a_drawing_that_no_width_suits_is_rejected_and_the_search_goes_on(opened, trained, monkeypatch) -> None:
    """Each mixer fits in all layers, some mixture does not: that is known only when it is drawn."""
    monkeypatch.setattr("l2m_design.search.run.check_space", lambda *arguments: None)
    huge = "space.kinds.huge={kind: attention, heads: 512, kv_heads: 1, head_dim: 8}"
    summary = opened("search.trials=14", huge).run()
    assert len(trained) == 14
    assert summary["rejected_unasked"] > 0
    assert not any(
        layer["heads"] == 512 for r in summary["records"] for layer in r["architecture"]["layers"] if "heads" in layer
    )


def test_a_known_design_cut_short_is_asked_again_under_its_own_name(opened, trained, monkeypatch) -> None:
    """Ctrl-C in the middle of a draw leaves only the first picks: they must not become another drawing."""
    from l2m_design.search.space.space import Space

    draw = Space.draw
    monkeypatch.setattr(Space, "draw", _interrupted_after_one_pick)
    with pytest.raises(Interrupted):
        opened().run()
    monkeypatch.setattr(Space, "draw", draw)
    summary = opened().run()
    assert next(row for row in summary["baselines"] if row["design"] == "all attention")["picture"] == "A A"


def _interrupted_after_one_pick(space, pick, vocabulary) -> None:
    pick("layer0.kind", list(space.kinds))
    raise KeyboardInterrupt


def test_time_of_every_sitting_is_counted(opened, trained, monkeypatch) -> None:
    pretend = processes.run_isolated

    def slow_then_interrupted(*arguments) -> Outcome:
        time.sleep(1.5)
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "run_isolated", slow_then_interrupted)
    search = opened()
    with pytest.raises(Interrupted):
        search.run()
    assert search.folder.seconds > 1.5
    monkeypatch.setattr(processes, "run_isolated", pretend)
    assert opened().run()["seconds"]["total"] > 1.5


def test_an_exhausted_space_is_said(opened, trained, monkeypatch) -> None:
    monkeypatch.setattr("l2m_design.search.workers.worker.STALLED", 10)
    kinds = "space.kinds={a: {kind: attention, heads: 2, kv_heads: 1, head_dim: 8}}"
    summary = opened("search.trials=5", kinds, "space.choices={}").run()
    assert any("1 of 5 planned trials" in note for note in summary["notes"])
    assert summary["trials"]["complete"] == 1
    assert summary["duplicates"] == 10


def test_a_crashed_trial_is_recorded_and_the_search_goes_on(opened, trained, monkeypatch) -> None:
    pretend = processes.run_isolated

    def crash_once(*arguments) -> Outcome:
        outcome = pretend(*arguments)
        return Outcome(reason="killed (out of memory?)") if len(trained) == 2 else outcome

    monkeypatch.setattr(processes, "run_isolated", crash_once)
    search = opened()
    summary = search.run()
    assert summary["trials"]["failed"] == 1
    failed = next(r for r in summary["records"] if r["state"] == "failed")
    assert failed["reason"] == "killed (out of memory?)"
    assert len(trained) == 8


def test_a_space_without_a_feasible_drawing_is_refused_with_the_nearest_change(opened, trained) -> None:
    with pytest.raises(BadInput, match=r"no drawing of it meets the condition .* nearest change"):
        opened("demand.prefactor=1e9", "search.trials=6").run()
    assert not trained


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("demand.beta=1.5", "demand.beta"),
        ("demand.beta=0", "demand.beta"),
        ("demand={}", "give either measure"),
        ("search.trails=3", r"search: unknown key 'trails'; did you mean 'trials'"),
        ("corpus=nowhere", "no such corpus"),
        ("space=none.yaml", "no file"),
        ("recipe.length=512", "must hold one window"),
        ("recipe={length: 512, batch_tokens: 512, tokens: 512}", "no document holds the asked 513 tokens"),
        ("space.parameters=100", "cannot hold"),
        ("name=../evil", "name"),
    ],
)
def test_a_study_that_cannot_run_is_refused_before_any_work(opened, override: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        opened(override)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("device=gpu9", "device gpu9: cannot be used here"),
        ("recipe.compile=true", "torch.compile is for GPUs"),
        ("search.kernels=[nonsense]", "search.kernels: nonsense"),
    ],
)
def test_a_machine_that_cannot_compute_as_asked_is_refused_before_any_work(opened, trained, override, words) -> None:
    search = opened("device=cpu", override)
    for start in (search.run, search.rehearse):
        with pytest.raises(BadInput, match=words):
            start()
    assert trained == []


def test_a_refused_study_gives_its_name_free_again(opened, trained) -> None:
    with pytest.raises(BadInput, match="no drawing of it meets"):
        opened("space.kinds={mamba2: {kind: mamba2, d_state: 8, head_dim: 8}}").run()
    assert opened().run()["trials"]["complete"] > 0


def test_fresh_moves_nothing_aside_for_a_storage_that_cannot_be_opened(opened, trained) -> None:
    search = opened()
    search.run()
    with pytest.raises(BadInput, match="cannot be opened"):
        opened("storage=sqlite:////nowhere/at/all.db").run(fresh=True)
    assert (search.folder.path / "optuna.db").exists()
    assert not search.folder.path.with_name("tiny.1").exists()


def test_a_study_whose_database_is_gone_is_not_begun_again_by_resume(opened, trained) -> None:
    search = opened()
    search.run()
    (search.folder.path / "optuna.db").unlink()
    with pytest.raises(BadInput, match=r"optuna\.db, which holds the trials, is gone"):
        opened().run(resume=True)


def test_damaged_small_files_cost_no_study(opened, trained) -> None:
    search = opened()
    search.run()
    for name in ("seconds.json", "tracked.json"):
        (search.folder.path / name).write_text('{"total": 1')
    assert opened().run(resume=True)["trials"]["complete"] > 0


def test_known_designs_that_leave_no_trial_are_warned_of(opened, trained) -> None:
    from l2m_design.search.run import Listener

    said: list[str] = []
    ask = ("search.rates=[0.5, 1.0]", "search.trials=12")
    opened(*ask).run(listener=Listener(trouble=said.append))
    assert any("6 known designs with 2 learning rates each take 12: nothing is searched" in line for line in said)
    assert opened(*ask).rehearse() == [line for line in said if "nothing is searched" in line]


def test_a_space_of_which_one_drawing_is_feasible_is_searched(opened, trained) -> None:
    """A random look would hardly meet it: all eight layers of full attention, with all heads."""
    change = ("space.depth=8", "space.parameters=40000", "demand.prefactor=3.0")
    settings = opened(*change)
    summary = settings.run()
    assert summary["trials"]["complete"] > 0


def test_two_workers_that_draw_the_same_train_it_once(opened, trained) -> None:
    from l2m_design.search.study.queue import this_worker
    from l2m_design.search.study.storage import Storage
    from l2m_design.search.trials.candidates import DRAWING, TRAINS
    from l2m_design.search.workers.shared import SharedStudy

    search = opened("search.trials=6")
    search.run()
    first = SharedStudy(Storage(search.storage_url), "tiny")
    second = SharedStudy(Storage(search.storage_url), "tiny", index=1)
    first.trials.plan("trial")
    first.trials.plan("trial")
    early, late = first.trials.take(this_worker()), second.trials.take(this_worker())
    assert early is not None
    assert late is not None
    late.set_user_attr(DRAWING, "the same 1")
    assert second.rival("the same 1", late.number) is None
    early.set_user_attr(DRAWING, "the same 1")
    assert second.rival("the same 1", late.number) == early.number  # the later gives way
    assert first.rival("the same 1", early.number) is None
    late.set_user_attr(TRAINS, "the same 1")
    assert first.rival("the same 1", early.number) == late.number  # but not to who has begun


def test_rungs_anywhere_are_rungs_of_asha(opened) -> None:
    import optuna

    from l2m_design.search.study.pruners import pruner, resource

    settings = opened("search.pruner=asha", "recipe.rungs=[0.33, 0.66]").settings
    study = optuna.create_study(pruner=pruner(settings.search, settings.recipe))
    ends = []
    for number in range(30):
        trial = study.ask()
        for rung in (1, 2):
            trial.report(float(number), resource(settings.search, rung))
            if trial.should_prune():
                ends.append(rung)
                break
        else:
            ends.append(0)
    assert set(ends[9:]) == {1}  # each later one is worse than all before it
    trial = study.ask()
    trial.report(-1.0, resource(settings.search, 1))
    assert not trial.should_prune()
    trial.report(100.0, resource(settings.search, 2))
    assert trial.should_prune()


def test_pareto_needs_no_word_on_its_rule(opened) -> None:
    assert opened("search.mode=pareto").settings.search.pruner == "auto"
