"""Studies with `start`: costs that are the losses of plans, tables that go on, and answers that follow from both."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from l2m_design.architecture.plans import NONE, SHARE, CachePlan, Kept
from l2m_design.errors import BadInput
from l2m_design.laws import Dtypes
from l2m_design.report.adoption import compared, outcome
from l2m_design.search.adoption.bench import Bench, Stored
from l2m_design.search.adoption.knapsack import Knapsack, Rules
from l2m_design.search.adoption.results import BudgetRow, PlanRow, of_plain, plain
from l2m_design.search.adoption.rows import Rows, chosen
from l2m_design.search.adoption.run import Adoption
from l2m_design.search.adoption.table import Lines, cost_key, costs_of, key_of, plan_name
from l2m_design.search.driver import Listener
from l2m_design.search.results.paired import Gap
from l2m_design.search.schema import schema
from l2m_design.search.watch import Status, status_of
from l2m_design.training.start import Replacement, StartModel
from tests.search.adopted import study

pytestmark = pytest.mark.usefixtures("one_store")


def bench(work: Adoption, folder: Path) -> Bench:
    start = StartModel(work.settings.start, "cpu")
    start.begins_as(work.corpus)
    folder.mkdir(exist_ok=True)
    return Bench(work.settings, work.corpus, start, folder, lambda what, done, total: None)


def test_a_cost_is_the_loss_of_the_plan_with_that_replacement_alone(place: Path) -> None:
    """Passes that begin at the changed layer answer as whole ones, streamed in pieces, do."""
    work = study(place)
    measured = bench(work, place / "bench")
    measured.fit()
    measured.measure_costs(work.units)
    assert len(measured.costs) == 2 * (1 + 2 * 2)
    own = CachePlan.own(work.shape)
    assert measured.own_costs() == pytest.approx(measured.losses(None, "validation"), abs=1e-5)
    for unit in work.units:
        for o in (1, 2):
            whole = measured.losses(own.but(unit.layer, unit.heads, unit.options[o]), "validation")
            alone = [measured.costs[cost_key(w, unit, o)]["late"] for w in range(2)]
            assert alone == pytest.approx(whole, abs=1e-5)
    costs = costs_of(measured.costs, work.units, 2)
    assert (costs[:, 0] == 0).all()
    assert np.isfinite(costs).all()


def test_a_shared_cache_costs_what_its_plan_loses(place: Path) -> None:
    """The pass begins at the layer whose cache is shared; the first layer can share none."""
    work = study(place, "options=[{cache: share}, {cache: window, share: 0.2}]")
    assert [[str(kept) for kept in unit.options] for unit in work.units] == [
        ["full", "window 21"],
        ["full", "cache below", "window 21"],
    ]
    measured = bench(work, place / "bench")
    measured.measure_costs(work.units)
    plan = CachePlan.own(work.shape).but(1, work.units[1].heads, SHARE)
    alone = [measured.costs[cost_key(window, work.units[1], 1)]["late"] for window in range(2)]
    assert alone == pytest.approx(measured.losses(plan, "validation"), abs=1e-5)
    assert work.knapsack(None).bytes(plan) * 2 == work.knapsack(None).own_bytes


def test_what_was_measured_is_not_measured_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = study(place)
    first = bench(work, place / "bench")
    first.fit()
    first.measure_costs(work.units)
    path = place / "bench" / "costs.jsonl"
    lines = path.read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["key"][1] == 0]
    path.write_text("\n".join(kept) + '\n{"of": "cut sh')
    wanted: list[list[Replacement]] = []
    costs = StartModel.costs
    monkeypatch.setattr(
        StartModel, "costs", lambda self, tokens, each: wanted.append(each) or costs(self, tokens, each)
    )
    again = bench(work, place / "bench")
    again.fit()
    again.measure_costs(work.units)
    assert [len(each) for each in wanted] == [4]  # of the second window
    assert costs_of(again.costs, work.units, 2) == pytest.approx(costs_of(first.costs, work.units, 2))
    more = study(place, "options=[{cache: window, share: [0.2, 0.1]}, {cache: sparse, share: 0.4, sinks: 2}]")
    third = bench(more, place / "bench")
    third.fit()
    third.measure_costs(more.units)
    assert [len(each) for each in wanted[1:]] == [2, 2]  # the new option alone


def test_a_cut_past_is_read_as_a_text_that_begins_there(place: Path) -> None:
    work = study(place)
    measured = bench(work, place / "bench")
    own = CachePlan.own(work.shape)
    found = measured.cut(None)
    assert list(found) == [25, 50]
    tokens = measured.windows["test"].tokens(slice(0, 1))[0]
    whole: list[float] = []  # by hand: the run of 12 that a token belongs to begins behind 25 tokens
    for first in [*range(50, 88, 12), 88]:
        given = torch.tensor([[0, *tokens[first - 25 : first + 12]]])
        with torch.no_grad():
            logits = measured.start.planned(own).model(given[:, :-1]).logits[0, -12:]
        nats = torch.nn.functional.cross_entropy(logits, given[0, -12:], reduction="none").tolist()
        whole = [*whole[: first - 50], *nats]
    assert found[25][0] == pytest.approx(np.mean(whole), abs=1e-5)
    assert abs(found[25][0] - measured.losses(None, "test")[0]) > 1e-5
    blind = CachePlan.alike([NONE, NONE], work.shape.kv_heads)
    for late in measured.cut(blind).values():
        assert late == pytest.approx(measured.losses(blind, "test")[: len(late)], abs=1e-5)


def test_lines_of_another_model_count_for_nothing(tmp_path: Path) -> None:
    one = Lines(tmp_path / "x.jsonl", "one")
    one.add(key_of("a", 1), {"late": 2.0}, plan=[1])
    other = Lines(tmp_path / "x.jsonl", "other")
    assert len(other) == 0
    assert Lines(tmp_path / "x.jsonl", "one")[key_of("a", 1)] == {"late": 2.0}
    assert Lines(tmp_path / "x.jsonl", "one").told == [{"plan": [1]}]


def work_lines(work: Adoption) -> list[list[Any]]:
    """The keys of the costs that were measured."""
    return [json.loads(line)["key"] for line in (work.folder.path / "costs.jsonl").read_text().splitlines()]


def test_a_study_from_end_to_end(place: Path) -> None:
    work, seen = study(place), list[Status]()
    found = work.run(listener=Listener(status=seen.append))
    assert len(found.budgets) == 2
    done = status_of(work.folder.path)
    assert done == seen[-1]
    assert done.state == "finished"
    assert [stage.name for stage in done.stages] == [
        "predicted use", "costs of replacements", "random plans", "budget 1: correction", "budget 2: correction",
        "budget 1: test", "budget 1: recall", "budget 2: test", "budget 2: recall",
    ]  # fmt: skip
    assert done.stages[1].total == len([key for key in work_lines(work) if key[0] == "replaced"])
    assert all(stage.done == stage.total for stage in done.stages)
    for budget in found.budgets:
        assert budget.best.state_bytes <= budget.bytes
        assert budget.seconds < 2
        assert budget.best.validation == min(
            row.validation for row in (budget.best, *budget.others) if row.validation is not None
        )
        names = {row.name for row in (budget.best, *budget.others)}
        assert {"uniform window", "uniform sparse by attention (H2O)"} <= names
        assert "uniform sparse by use, all heads compete" in names
        parts = {row.name: row.part for row in budget.others}
        assert {name for name, part in parts.items() if part} <= {n for n in parts if n.startswith("uniform ")}
        assert parts.get(budget.rival) == budget.lost
        for row in budget.others:
            if row.part and row.difference and budget.best.difference:
                assert row.part.value == pytest.approx(budget.best.difference.value / row.difference.value)
        assert list(budget.best.context_gain) == [25, 50]
        assert budget.best.effective_context in (0, 25, 50)
    assert found.start.effective_context is not None
    assert found.test_documents == 10
    assert "Test losses are means over 10 windows of 10 documents; differences are paired over documents." in outcome(
        found
    )
    assert len(found.check.predicted) == len(found.check.measured) == 4
    back = of_plain(json.loads((place / "reports" / "small" / "study.json").read_text()), "study.json")
    assert plain(back) == plain(found)
    check_schema(place / "reports" / "small" / "study.json")
    again = study(place).run(resume=True)
    assert [budget.best for budget in again.budgets] == [budget.best for budget in found.budgets]
    kept = study(place).reselect()
    assert kept.start == found.start
    for budget, before in zip(kept.budgets, found.budgets, strict=True):
        assert budget.best.fingerprint == before.best.fingerprint
        assert budget.best.difference == before.best.difference
        assert {row.fingerprint for row in before.others} <= {row.fingerprint for row in (budget.best, *budget.others)}
    assert any(row.effective_context is not None for row in kept.rows)
    other = study(place, "budgets=[0.6]", "demand={beta: 0.5}", "choice.delta=9").reselect()
    assert other.budgets[0].best.state_bytes <= 0.6 * other.start.bytes
    assert other.budgets[0].best.validation is not None
    assert other.budgets[0].best.meets
    assert all(row.state_bytes <= other.budgets[0].bytes for row in other.budgets[0].others)


def test_a_loss_is_said_to_be_measured_below_the_target(place: Path) -> None:
    sets = ["correction={random_plans: 0, trials: 1}", "budgets=[1.0]", "choice.delta=9"]
    beyond = study(place, *sets, "condition.length=128").run()
    rows = [row for row in beyond.rows if row.name.startswith("uniform window")]
    assert rows
    assert all(row.difference and row.difference.value != 0 for row in rows)  # even the largest evicts
    assert "Its late loss, measured at 100 tokens and not at 128 tokens, is " in " ".join(outcome(beyond))
    alike = study(place, *sets, "condition.length=100", "name=alike").run()
    assert "measured at" not in " ".join(outcome(alike))


def stored(work: Adoption, fingerprint: str) -> Bench:
    read = Stored(work.shape, fingerprint)
    return Bench(work.settings, work.corpus, read, work.folder.path, lambda what, done, total: None)


def test_the_best_of_all_measured_plans_is_taken(place: Path) -> None:
    """Whoever drew it; a solution that was never measured is said to be so and is not the best."""
    sets = ["correction={random_plans: 0, trials: 1}", "budgets=[0.7]", "choice.delta=9"]
    work = study(place, *sets)
    first = work.run()
    table = stored(work, first.start.fingerprint)
    drawn = CachePlan.alike([Kept("window", 7), Kept("window", 9)], work.shape.kv_heads)
    for window, late in enumerate(table.losses(None, "validation")):
        key = key_of("validation", window, plan_name(drawn), "start")
        table.plans.add(key, {"late": late - 1}, plan=drawn.plain())
    found = study(place, *sets).run(resume=True).budgets[0].best
    assert found.fingerprint == plan_name(drawn) != first.budgets[0].best.fingerprint
    assert found.validation == pytest.approx(-1)
    assert found.difference is not None
    other = study(place, *sets, "budgets=[0.45]").reselect()
    assert other.budgets[0].best == replace(found, name=other.budgets[0].best.name)
    assert other.chosen is not None
    solution = next(row for row in other.budgets[0].others if row.name == "solved")
    assert solution.difference is None
    assert f"the solution is {solution.picture} with a predicted loss" in " ".join(outcome(other))
    sentence = next(line for line in outcome(other) if "the solution is" in line)
    assert sentence.endswith("It was not measured.")


def beside(place: Path, ours: list[float], theirs: list[float]) -> BudgetRow:
    """A budget whose best plan and uniform rival lose so much more than the model on documents."""
    work = study(place)
    plans = [CachePlan.alike([NONE, Kept("window", size)], work.shape.kv_heads) for size in (5, 6)]
    losses = {plans[0]: np.array(ours), plans[1]: np.array(theirs), None: np.zeros(len(ours))}
    bench = SimpleNamespace(losses=lambda plan, split: losses[plan], by_document=lambda each, split: each.tolist())
    rows = [
        replace(row(0.5, 9), name=name, layers=plan.plain(), fingerprint=name, difference=Gap(
            float(np.mean(losses[plan])), -1.0, 1.0, standard_error=1.0, seeds=1))
        for name, plan in zip(("solved", "uniform window"), plans, strict=True)
    ]  # fmt: skip
    knapsack = Knapsack(work.shape, work.units, Rules(100, Dtypes()))
    return Rows(bench, knapsack, np.zeros((2, 3))).budget(9.0, rows[0], rows[1:], 0.1)  # type: ignore[arg-type]


def test_the_best_plan_is_always_held_against_its_rival(place: Path) -> None:
    noise = np.linspace(-0.01, 0.01, 12)
    helped = beside(place, [*(0.02 + noise)], [*(-0.01 + noise[::-1] / 2)])
    assert helped.over is not None
    assert helped.over.value == pytest.approx(0.03)
    assert helped.lost is None
    clear = beside(place, [*(0.2 + noise)], [*(0.4 + noise)])
    assert clear.lost is not None
    assert clear.lost.value == pytest.approx(0.5)
    near = beside(place, [*(0.2 + noise)], [*(0.001 + noise)])
    assert near.lost is None  # of nearly nothing there is no part
    for budget, verdict in ((helped, "the uniform plan is better"), (clear, "the searched plan is better")):
        told = " ".join(compared(budget))
        assert verdict in told
        assert "paired over documents" in told
        assert ("of the loss of the uniform plan" in told) == (budget.lost is not None)
    level = beside(place, [*(0.2 + noise)], [*(0.2 - noise)])
    assert "the difference is not significant" in " ".join(compared(level))


def test_settings_that_change_losses_are_another_study(place: Path) -> None:
    study(place, "correction={random_plans: 0, trials: 1}", "budgets=[0.7]").run()
    with pytest.raises(BadInput, match=r"windows\.costs: 2 -> 3"):
        study(place, "windows.costs=3").run()


@pytest.mark.parametrize("finetune", ["{tokens: 200}", "{tokens: 200, method: lora, rank: 2, hidden: 0.5}"])
def test_a_healed_plan_is_read_again_from_its_weights(place: Path, finetune: str) -> None:
    if "lora" in finetune:
        pytest.importorskip("peft")
    sets = ["correction={random_plans: 0, trials: 1}", "budgets=[0.45]", f"finetune={finetune}", "grain=head"]
    healed = study(place, *sets).run().budgets[0].healed
    assert healed is not None
    assert healed.healed
    plans = place / "runs" / "small" / "plans.jsonl"
    lines = [line for line in plans.read_text().splitlines() if "healed" not in line]
    plans.write_text("\n".join(lines) + "\n")
    again = study(place, *sets).run().budgets[0]
    assert again.healed is not None
    assert again.gain is not None
    kept = study(place, *sets, "choice.delta=9").reselect()
    assert kept.chosen is not None
    assert kept.chosen == kept.budgets[0].healed == replace(again.healed, p=kept.chosen.p)
    assert kept.budgets[0].gain == again.gain
    assert again.healed.difference.value == pytest.approx(healed.difference.value, abs=1e-6)  # type: ignore[union-attr]


def test_lora_without_peft_is_refused_before_anything_is_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2m_design.training.lora.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"finetune.method: lora needs the package peft: pip install peft"):
        study(place, "finetune={tokens: 200, method: lora}")


def check_schema(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    data = json.loads(path.read_text())
    jsonschema.validate(data, schema())
    jsonschema.validate(data | {"later": 1}, schema())
    with pytest.raises(jsonschema.ValidationError, match="1 is not of type 'string'"):
        jsonschema.validate(data | {"study": 1}, schema())
    for key in ("budgets", "start"):
        with pytest.raises(jsonschema.ValidationError, match=f"'{key}' is a required property"):
            jsonschema.validate({name: value for name, value in data.items() if name != key}, schema())


def row(p: float, size: int, meets: bool = True) -> PlanRow:
    from l2m_design.condition import Judgement, Reach

    judgement = Judgement(None, 1.0, 0.5, "t", "t^0.5", meets, None, None, Reach(None, None))
    fields: dict[str, Any] = {"layers": [], "picture": "", "fingerprint": "", "kept": [], "share": 0.5}
    return PlanRow(
        name="x", budget=0, state_bytes=size, judgement=judgement, predicted=None, validation=None, p=p, **fields
    )


def budget(best: PlanRow, healed: PlanRow | None = None) -> BudgetRow:
    return BudgetRow(
        bytes=best.state_bytes,
        share=0.5,
        best=best,
        healed=healed,
        others=[],
        lost=None,
        gain=None,
        rival=None,
        seconds=0.0,
    )


def test_the_choice_goes_down_until_a_budget_fails() -> None:
    large, middle, small = row(0.01, 900), row(0.2, 500), row(0.001, 200)
    assert chosen([budget(small), budget(large), budget(middle)], 0.95) == large
    assert chosen([budget(large), budget(row(0.04, 500)), budget(small)], 0.95) == small
    assert chosen([budget(middle)], 0.95) is None
    assert chosen([budget(large), budget(row(0.01, 500, meets=False))], 0.95) == large
    better = replace(middle, p=0.03, healed=True)
    assert chosen([budget(large), budget(middle, better)], 0.95) == better
