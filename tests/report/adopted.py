"""Summaries of studies with `start`, made by hand: a small one, and one with many layers, budgets and plans."""

from dataclasses import replace
from typing import Any

import numpy as np

from l2m_design.architecture.plans import FULL, CachePlan, Kept
from l2m_design.search.adoption.results import AdoptionSummary, BudgetRow, Check, PlanRow, Start, UnitRow
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.search.results.paired import Gap

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


OFFERED = [
    FULL,
    Kept("sinks+window", 1021, 4),
    Kept("sinks+window", 253, 4),
    Kept("sparse", 448, chunk=32),
    Kept("none"),
]
HELD = [4096, 1024, 256, 512, 0]  # tokens


def many(layers: int = 30, heads: int = 1, budgets: int = 3) -> AdoptionSummary:
    """A study of many layers, or kv heads in them, whose plans are of all kinds; the healed one of the first budget is
    chosen.
    """
    rng, units = np.random.default_rng(0), layers * heads
    costs = rng.gamma(0.5, 0.02, (units, 5)) * [0, 0.3, 1, 0.5, 8] - [0, 0.002, 0.002, 0.002, 0]
    rows = [
        UnitRow(layer=n // heads, heads=[n % heads], options=list(map(str, OFFERED)), bytes=[256 * h for h in HELD],
                costs=costs[n].tolist())
        for n in range(units)
    ]  # fmt: skip
    found = [_budget(number, (layers, heads), rng) for number in range(budgets)]
    base, own = summary(found, length=4096), 256 * 4096 * units
    start = replace(base.start, layers=["full_attention"] * layers, kv_heads=heads, head_dim=64, bytes=own)
    predicted = rng.gamma(1, 0.3, 30)
    measured = predicted * rng.lognormal(0, 0.3, 30)
    check = Check(predicted=predicted.tolist(), measured=measured.tolist(), spearman=None)
    return replace(base, start=start, units=rows, check=check, chosen=found[0].healed)


def _budget(number: int, sizes: tuple[int, int], rng: np.random.Generator) -> BudgetRow:
    """The best plan, the same healed, uniform plans, one with full layers between, random ones, one not measured."""
    share, loss, units = 0.5 / 2**number, 0.02 * 2.5**number, sizes[0] * sizes[1]
    held = round(4096 * share)
    window, between = Kept("window", held + 1), Kept("sinks+window", held - 3, 4)
    alike = {
        "uniform window": [window],
        "uniform window with sinks": [between],
        "uniform sparse by attention (H2O)": [Kept("sparse", held - 64, chunk=32, choose="attention_mass")],
        "every 4th layer full, windows with sinks between": [between, between, between, FULL],
    }
    others = [
        _plan(name, number, (kept * units)[:units], sizes, loss * (2 + m))
        for m, (name, kept) in enumerate(alike.items())
    ]
    drawn = [[OFFERED[pick] for pick in rng.integers(1, 5, units)] for _ in range(4)]
    others += [_plan(f"random plan {m + 1}", number, drawn[m], sizes, 12 * loss) for m in range(2)]
    others.append(replace(_plan("solved", number, drawn[2], sizes, loss), difference=None))
    full = int(0.8 * share * units)
    best = _plan("solved, trial 7", number, [*drawn[3][full:], *[FULL] * full], sizes, loss)
    healed = replace(best, name="healed on 1,000,000 tokens", healed=True, difference=gap(loss / 2))
    whole = budget(round(256 * 4096 * units * share), best, others)
    return replace(whole, share=share, healed=healed)


def _plan(name: str, number: int, kept: list[Kept], sizes: tuple[int, int], loss: float) -> PlanRow:
    layers, heads = sizes
    plan = CachePlan(tuple(tuple(kept[n * heads : (n + 1) * heads]) for n in range(layers)))
    held = plan.bytes(4096, 64, "bfloat16")
    known: dict[str, Any] = {"layers": plan.plain(), "predicted": 1.2 * loss, "validation": loss, "kept": []}
    made = row(name, held, **known, difference=Gap(loss, loss / 2, 1.6 * loss, 0.95, standard_error=0.01, seeds=1))
    share = held / (256 * 4096 * layers * heads)
    return replace(made, budget=number, picture=plan.picture, fingerprint=f"{name} {number}", share=share)
