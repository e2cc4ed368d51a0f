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
from l2m_design.report.adoption import interactive, outcome, svgs, write_adoption, write_figures
from l2m_design.report.figures import adoption as figures
from l2m_design.report.interactive.caches import OTHER
from l2m_design.report.plans import SEARCHED, caches, kinds
from l2m_design.report.scales import symlog, symlog_marks
from l2m_design.report.words import letter
from l2m_design.search.adoption.results import AdoptionSummary
from l2m_design.terms import Terms
from tests.report.adopted import budget, many, row, summary


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


def named(figure: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The traces of a plan."""
    return [trace for trace in figure["traces"] if trace["meta"].get("design") == key]


def test_every_figure_is_there_twice_and_without_random_plans_there_is_no_check(tmp_path: Path) -> None:
    found = many()
    assert interactive(found).keys() == svgs(found).keys() == {"front", "map", "check"}
    assert interactive(summary([budget(500)])).keys() == svgs(summary([budget(500)])).keys() == {"front", "map"}
    text = page(found, tmp_path)
    assert len(re.findall(r'<div class="static">\s*<svg', text)) == text.count('class="plot"') == 3
    assert sorted(file.name for file in write_figures(found, tmp_path / "f")) == ["check.svg", "front.svg", "map.svg"]


def test_every_plan_is_a_point_with_its_name_bytes_loss_and_interval() -> None:
    found = many()
    front = interactive(found)["front"]
    for kind in kinds(found):
        for plan in kind.rows:
            (point,) = named(front, plan.key)
            said = point["text"][0]
            assert plan.name in re.sub(r"</?b>", "", said).replace("<br>", " ")  # long names take two lines
            assert f"{plan.share:.3g} of the model" in said
            assert point["marker"]["color"] == kind.colour
            if gap := plan.difference:
                assert f"loses {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" in said
                low = point["y"][0] - point["error_y"]["arrayminus"][0]
                assert low == pytest.approx(symlog(gap.low, 0.05), abs=1e-4)
            else:
                assert point["marker"]["symbol"] == "circle-open"
                assert "not measured on test windows" in said
    assert found.chosen
    assert named(front, found.chosen.key)[0]["text"][0].startswith("<b>chosen: budget A: healed")
    letters = [trace["meta"].get("label") for trace in front["traces"] if trace["meta"]["name"] == SEARCHED]
    assert letters == [None, "A", "B", "C"]


@pytest.mark.parametrize(("layers", "heads"), [(30, 1), (4, 3)])
def test_a_cell_of_the_map_says_its_cost_and_the_budgets_that_use_it(layers: int, heads: int) -> None:
    found = many(layers, heads)
    cells = interactive(found)["map"]["traces"][0]
    said = {
        (x, round(base + 0.46)): text for x, base, text in zip(cells["x"], cells["base"], cells["text"], strict=True)
    }
    letters = {
        (x, base + 0.46): text for x, base, text in zip(cells["x"], cells["base"], cells["customdata"], strict=True)
    }
    for n, unit in enumerate(found.units):
        for name, cost in zip(unit.options, unit.costs, strict=True):
            text = said[name, n]
            assert text.startswith(
                f"<b>layer {unit.layer}{f', kv head {unit.heads[0]}' if heads > 1 else ''}: {name}</b>"
            )
            assert ("own cache" if name == "full" else f"{cost:+.4f} nats per token") in text
            used = [letter(b.best.budget) for b in found.budgets if caches(b.best, found.units, heads)[n] == name]
            assert letters[name, n] == "".join(used)
            assert all(f"{each} (" in text for each in used)
            assert used or "in no budget's plan" in text


def test_a_plan_shown_alone_frames_its_caches_also_those_that_are_no_option() -> None:
    found = many()
    chart = interactive(found)["map"]
    for plan in found.rows:
        (frames,) = named(chart, plan.key)
        assert frames["visible"] == "legendonly"
        assert len(frames["x"]) == len(found.units)
    uniform = next(plan for plan in found.rows if plan.name == "uniform window")
    assert set(named(chart, uniform.key)[0]["x"]) == {OTHER}
    assert OTHER in chart["layout"]["xaxis"]["categoryarray"]
    assert OTHER not in interactive(summary([budget(500)]))["map"]["layout"]["xaxis"]["categoryarray"]


def test_an_axis_of_losses_is_linear_near_zero_and_named_by_round_losses() -> None:
    assert [symlog(value, 0.05) for value in (0.0, 0.025, 0.05, 0.5, -5.0)] == pytest.approx([0, 0.5, 1, 2, -3])
    assert symlog_marks([-0.06, 0.6], 0.05) == pytest.approx([-0.05, 0, 0.05, 0.1, 0.2, 0.5])
    assert symlog_marks([0.0, 200.0], 0.01) == pytest.approx([0, 0.01, 0.1, 1, 10, 100])
