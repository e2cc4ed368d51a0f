"""A whole study in small: every planned trial once, and what it finds."""

from dataclasses import replace

import pytest

from l2m_design.architecture import Architecture
from l2m_design.search.executors import processes
from l2m_design.search.executors.processes import Outcome


def test_a_study_trains_the_known_designs_first_and_keeps_its_promises(opened, trained, designs) -> None:
    search = opened()
    summary = search.run()
    assert {row["design"] for row in summary["baselines"]} == designs
    assert [r["design"] is not None for r in summary["records"][:7]] == [True] * 7
    assert len(trained) == 8
    counts = summary["trials"]
    assert sum(counts.values()) + summary["duplicates"] == len(summary["records"])
    assert counts["complete"] + counts["pruned"] + counts["failed"] == 8
    promised = {"study", "trials", "front", "chosen", "baselines", "report", "tracking_uri", "seconds"}
    assert promised <= set(summary)
    assert set(summary["seconds"]) == {"total", "training", "evaluating", "overhead"}
    assert {"architecture", "loss", "state_bytes"} <= set(summary["chosen"])


def test_the_choice_is_the_least_state_that_is_not_worse_than_the_reference(opened, trained) -> None:
    search = opened("search.trials=5", "choice.delta=0.01", "choice.reference=full attention")
    summary = search.run()
    chosen = summary["chosen"]
    assert chosen["feasible"]
    assert chosen["growth_exponent"] >= 0.5
    attention = next(row for row in summary["baselines"] if row["design"] == "all attention")
    eligible = [r for r in summary["records"] if r["state"] == "complete" and r["feasible"]]
    good = [r for r in eligible if r["result"]["late_loss"] <= attention["loss"] + 0.01]
    assert chosen["state_bytes"] == min(r["state_bytes"] for r in good)
    assert summary["choice"]["among"] == "trials"
    assert summary["reference"].endswith("(all attention)")
    assert summary["verdict"] == "undecided"  # one seed confirms nothing
    assert any(r["result"]["late_loss"] > attention["loss"] + 0.01 for r in eligible)


def test_known_designs_that_fail_the_condition_are_trained_but_never_chosen(opened, trained) -> None:
    search = opened()
    summary = search.run()
    mamba = next(row for row in summary["baselines"] if row["design"] == "all Mamba-2")
    assert mamba["state"] == "complete"
    assert not mamba["feasible"]
    assert mamba["trial"] not in [row["trial"] for row in summary["front"]]


def test_nearly_all_asked_drawings_are_feasible_and_the_others_are_never_built(opened, trained) -> None:
    search = opened("search.trials=9", "search.seed=3", "search.sampler=tpe")
    summary = search.run()
    assert summary["rejected_unasked"] > 0
    asked = [r for r in summary["records"] if r["design"] is None]
    assert len(asked) == summary["asked"]["drawings"] >= 8
    assert summary["asked"]["feasible"] >= 0.9 * len(asked)
    assert all(r["verdict"]["growth_exponent"] >= 0.5 for r in asked)


def test_a_duplicate_reuses_its_result(opened, trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2m_design.search.driver.STALLED", 20)
    search = opened(
        "search.trials=53", 'space.kinds={a: {kind: attention, heads: 2, kv_heads: $kv_heads, head_dim: 8}}',
        "space.choices={kv_heads: [1, 2], unused: [1, 2, 3]}", "search.pruner=none",
    )  # fmt: skip
    summary = search.run()
    assert len(trained) == 4  # two layers, two kinds of heads
    copies = [r for r in summary["records"] if r["copy_of"] is not None]
    assert copies
    by_number = {r["number"]: r for r in summary["records"]}
    assert all(copy["value"] == by_number[copy["copy_of"]]["value"] for copy in copies)


def test_designs_that_fail_the_condition_set_no_bar_for_those_that_meet_it(opened, trained, monkeypatch) -> None:
    """The infeasible ones learn fast here: were they counted, the median would stop every feasible candidate."""
    pretend = processes.run_isolated

    def fast_when_infeasible(job, on_rung, *rest) -> Outcome:
        drawing = Architecture.parse(job.architecture, "job")
        shift = -5.0 if drawing.state.exponent < 0.5 else 0.0
        return pretend(job, lambda rung: on_rung(replace(rung, late_loss=rung.late_loss + shift)), *rest)

    monkeypatch.setattr(processes, "run_isolated", fast_when_infeasible)
    summary = opened("search.trials=9", "search.warmup_trials=2").run()
    searched = [r for r in summary["records"] if r["design"] is None and r["state"] != "infeasible"]
    assert any(r["state"] == "complete" for r in searched)


def test_the_asha_rule_stops_the_worse_half(opened, trained) -> None:
    summary = opened("search.trials=9", "search.pruner=asha").run()
    pruned = [r for r in summary["records"] if r["state"] == "pruned"]
    assert pruned
    assert all("behind the asha rule" in r["reason"] for r in pruned)


def test_a_drawing_that_no_width_suits_is_rejected_and_the_search_goes_on(opened, trained, monkeypatch) -> None:
    """Each mixer fits in all layers, some mixture does not: that is known only when it is drawn."""
    monkeypatch.setattr("l2m_design.search.run.check_space", lambda *arguments: None)
    huge = "space.kinds.huge={kind: attention, heads: 512, kv_heads: 1, head_dim: 8}"
    summary = opened("search.trials=7", huge).run()
    assert len(trained) == 14
    assert summary["rejected_unasked"] > 0
    assert not any(
        layer["heads"] == 512 for r in summary["records"] for layer in r["architecture"]["layers"] if "heads" in layer
    )


def test_an_exhausted_space_is_said(opened, trained, monkeypatch) -> None:
    monkeypatch.setattr("l2m_design.search.driver.STALLED", 10)
    kinds = "space.kinds={a: {kind: attention, heads: 2, kv_heads: 1, head_dim: 8}}"
    summary = opened("search.trials=5", kinds, "space.choices={}").run()
    assert any("only 1 of 5 planned trials" in note for note in summary["notes"])
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


def test_baselines_count_apart_from_trials(opened, trained) -> None:
    summary = opened("search.rates=[0.5, 1.0]", "search.trials=2", "search.pruner=none").run()
    own = [r for r in summary["records"] if r["state"] != "infeasible" and r["copy_of"] is None]
    assert sum(r["design"] is not None for r in own) == 14
    assert sum(r["design"] is None for r in own) == 2
    assert len(opened("search.trials=0").run(fresh=True)["baselines"]) == 7


def test_a_space_of_which_one_drawing_is_feasible_is_searched(opened, trained) -> None:
    """A random look would hardly meet it: all eight layers of full attention, with all heads."""
    change = ("space.depth=8", "space.parameters=40000", "demand.prefactor=3.0")
    settings = opened(*change)
    summary = settings.run()
    assert summary["trials"]["complete"] > 0


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
