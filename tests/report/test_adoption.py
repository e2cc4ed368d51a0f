"""The page of a study that starts from a model: its sentences and figures, for any budgets and requirements."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from l2m_design.architecture.plans import CachePlan, Kept
from l2m_design.condition import Demand
from l2m_design.laws import PowerLaw
from l2m_design.report.adoption import outcome, write_adoption
from l2m_design.report.figures import adoption as figures
from l2m_design.report.words import letter
from l2m_design.search.adoption.results import AdoptionSummary, BudgetRow, Check, PlanRow, Start, UnitRow
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.search.results.paired import Gap
from l2m_design.terms import Terms

STUDY: dict[str, Any] = {
    "name": "small",
    "start": "model",
    "corpus": "texts",
    "length": 1024,
    "options": [{"cache": "window", "window": 65}],
}


def gap(value: float) -> Gap:
    return Gap(value, value - 0.01, value + 0.01, 0.95, standard_error=0.005, seeds=1)


def row(name: str, size: int, **fields: Any) -> PlanRow:
    plan = CachePlan.alike([Kept("window", 65)] * 2, 1)
    known: dict[str, Any] = {
        "layers": plan.plain(),
        "predicted": 0.02,
        "validation": 0.02,
        "difference": gap(0.02),
        "p": 0.01,
        "kept": [1, 1],
    }
    return PlanRow(
        name=name,
        budget=0,
        picture="W W",
        fingerprint=f"{name}{size}",
        state_bytes=size,
        share=size / 1000,
        judgement=None,
        **(known | fields),
    )


def budget(size: int, best: PlanRow | None = None, others: list[PlanRow] | None = None) -> BudgetRow:
    return BudgetRow(
        bytes=size,
        share=size / 1000,
        best=best or row("solved", size),
        healed=None,
        others=others or [],
        lost=None,
        gain=None,
        rival=None,
        seconds=0.01,
    )


def summary(budgets: list[BudgetRow], **settings: Any) -> AdoptionSummary:
    options = ["full", "window 65"]
    return AdoptionSummary(
        study="small",
        version="0",
        settings=AdoptionSettings.parse(STUDY | settings, "study"),
        start=Start(
            name="model",
            fingerprint="f",
            layers=["full_attention"] * 2,
            kv_heads=1,
            head_dim=16,
            bytes=1000,
            late_loss=2.0,
            test_loss=2.0,
        ),
        corpus={"name": "texts", "fingerprint": "g"},
        demand=None,
        units=[UnitRow(layer=n, heads=[0], options=options, bytes=[500, 50], costs=[0.0, 0.01]) for n in range(2)],
        budgets=budgets,
        check=Check(predicted=[], measured=[], spearman=None),
        chosen=budgets[-1].best,
        seconds=1.0,
    )


def page(found: AdoptionSummary, folder: Path) -> str:
    write_adoption(found, folder / "index.html")
    return (folder / "index.html").read_text()


def demanded(law: PowerLaw, measured: bool = True) -> AdoptionSummary:
    demand = Demand(law, Terms.parse({"length": 1024, "shortest": 256}, "terms"))
    told = {
        "law": law.plain(),
        "formula": law.formula(),
        "exponent": demand.exponent,
        "growth": demand.growth,
        "has_level": True,
        "measurement": {"estimator": "profile"} if measured else None,
    }
    return replace(summary([budget(500)]), demand=told)


def test_a_requirement_of_nothing_is_said_first() -> None:
    nothing = outcome(demanded(PowerLaw(0.0, 0.0, -0.795, form="constant")))
    assert nothing[0].startswith("Beware: no growth is required.")
    assert "I(n;n) = -0.795 nats" in nothing[0]
    assert "only the loss decides" in nothing[0]
    assert "demand.measure.windows" in nothing[0]
    some = outcome(demanded(PowerLaw(0.0, 0.0, 3.0, form="constant"), measured=False))
    assert some[0].startswith("Beware: no growth is required.")
    assert "only the loss" not in some[0]
    assert "demand.measure" not in some[0]
    assert outcome(demanded(PowerLaw(2.0, 0.7)))[0] == "Required growth: t^0.70 (2 n^0.700 nats)."


def test_the_lead_says_in_what_bytes_are_counted() -> None:
    found = summary([budget(500)], condition={"dtype": "float16"})
    assert "of state at 1,024 tokens, counted in float16: 0.5 of the model's" in outcome(found)[0]
    none = replace(summary([budget(500)], condition={"kv_dtype": "int8"}), chosen=None)
    assert "Every state is that at 1,024 tokens, counted in int8." in outcome(none)


def test_what_decides_stands_first_and_recall_only_where_it_was_asked(tmp_path: Path) -> None:
    found = summary([budget(500)])
    without = page(found, tmp_path)
    heads = re.findall(r"<th>(.*?)</th>", without)
    assert heads[:4] == ["plan", "share", "test loss − the model's", "p (delta)"]
    assert heads[-1] == "layers"
    assert "Recall: " not in without
    asked = page(replace(found, start=replace(found.start, recall={"needle": 1.0, "keys": 0.5})), tmp_path)
    assert re.findall(r"<th>(.*?)</th>", asked)[4:6] == ["needle", "keys"]
    assert "Recall: digits" in asked


def test_a_known_plan_that_wins_is_in_the_map() -> None:
    plan = CachePlan.alike([Kept("window", 91)] * 2, 1).plain()
    best = row("uniform window", 400, layers=plan, kept=[None, None], predicted=None)
    shown = figures.cost_map(summary([budget(500), budget(400, best)]))
    assert "window 91" in shown
    assert len(re.findall(r">B<", shown)) == 2


def test_intervals_of_one_budget_do_not_hide_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, errorbar = [], Axes.errorbar
    monkeypatch.setattr(Axes, "errorbar", lambda self, x, *a, **k: drawn.extend(x) or errorbar(self, x, *a, **k))
    rivals = [row("uniform window", 500), row("uniform window with sinks", 500)]
    figures.front(summary([budget(500, others=rivals)]))
    assert len(set(drawn)) == 3
    assert drawn == pytest.approx([500] * 3, rel=0.1)


def test_every_budget_has_a_letter_of_its_own(tmp_path: Path) -> None:
    found = summary([budget(900 - 10 * n) for n in range(30)])
    shown = page(found, tmp_path)
    for name in ("A", "I", "Z", "AA", "AD"):
        assert f"Budget {name}: " in shown
    assert len({letter(number) for number in range(1000)}) == 1000
    assert "I" in figures.cost_map(summary([budget(900 - 10 * n) for n in range(9)])).split("ABCDEFGH", 1)[1][:2]
