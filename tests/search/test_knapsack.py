"""The knapsack finds what trying every plan finds, within the bytes and under the condition."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from l2m_design.architecture.plans import FULL, NONE, SLIDING, WHOLE, CachePlan, Kept, Shape
from l2m_design.condition import Demand
from l2m_design.laws import Dtypes, PowerLaw
from l2m_design.search.adoption.designs import known, random_plans
from l2m_design.search.adoption.knapsack import Knapsack, Rules, units_of
from l2m_design.terms import Terms

LENGTH, HEAD_DIM = 512, 16
SHAPE = Shape((WHOLE,) * 4, 4, 2, HEAD_DIM, 0)
WINDOW, SINKS = Kept("window", window=33), Kept("sinks+window", window=61, sinks=4)
SPARSE = Kept("sparse", sinks=4, chunk=8, exponent=0.75, keep=1.0)
OPTIONS = [WINDOW, SINKS, SPARSE, NONE]
DTYPES = Dtypes("bfloat16")


def demanded(**fields: Any) -> Demand:
    terms = Terms.parse({"length": LENGTH, "shortest": 64, "nats_per_element": 0.05} | fields, "terms")
    return Demand(PowerLaw(4.0, 0.7), terms)


def knapsack(demand: Demand | None = None, grain: str = "layer", shape: Shape = SHAPE) -> Knapsack:
    rules = Rules(LENGTH, DTYPES, demand, ("growth", "level"))
    return Knapsack(shape, units_of(shape, OPTIONS, grain), rules)


def costs_of(sack: Knapsack, seed: int) -> np.ndarray:
    costs = np.random.default_rng(seed).exponential(size=(len(sack.units), len(OPTIONS) + 1))
    costs[:, 0] = 0.0
    return costs


@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_the_solution_is_that_of_trying_every_plan(share: float, judged: bool) -> None:
    demand = demanded() if judged else None
    sack = knapsack(demand)
    for seed in range(3):
        costs = costs_of(sack, seed)
        budget = share * sack.own_bytes
        best = None
        for picks in product(range(len(OPTIONS) + 1), repeat=4):
            plan = sack.plan(list(picks))
            fits = sack.bytes(plan) <= budget
            verdict = demand.judge(plan.state(HEAD_DIM)) if demand else None
            if fits and (verdict is None or verdict.met):
                total = sum(costs[u, pick] for u, pick in enumerate(picks))
                best = total if best is None else min(best, total)
        found = sack.solve(costs, budget)
        if best is None:
            assert found is None
            continue
        assert found is not None
        assert sack.bytes(found) <= budget
        assert sack.predicted(found, costs) == pytest.approx(best)
        assert demand is None or demand.judge(found.state(HEAD_DIM)).met


def test_limits_at_other_lengths_hold_and_cost_no_more_than_they_must() -> None:
    free, short = knapsack(), 64
    most = 0.45 * free.bytes(CachePlan.own(SHAPE), short)
    rules = replace(free.rules, limits=((short, most),))
    held = Knapsack(SHAPE, free.units, rules)
    bound = 0
    for seed in range(4):
        costs, budget = costs_of(free, seed), 0.5 * free.own_bytes
        plans = [free.plan(list(picks)) for picks in product(range(len(OPTIONS) + 1), repeat=4)]
        fitting = [plan for plan in plans if free.bytes(plan) <= budget and free.bytes(plan, short) <= most]
        found = held.solve(costs, budget)
        assert found in fitting
        assert held.predicted(found, costs) == pytest.approx(min(free.predicted(plan, costs) for plan in fitting))
        bound += found != free.solve(costs, budget)
    assert bound
    assert not held.meets(CachePlan.own(SHAPE))


def test_a_demand_forbids_plans_that_would_be_cheaper() -> None:
    free, held = knapsack(), knapsack(demanded())
    costs = costs_of(free, 0)
    costs[:, 1:3] = 0.001  # windows are nearly free
    budget = 0.4 * free.own_bytes
    assert "S" not in free.solve(costs, budget).picture  # type: ignore[union-attr]
    bound = held.solve(costs, budget)
    assert bound is not None
    assert {"S", "A"} & set(bound.picture)


def test_the_least_plan_is_the_least_that_meets_the_demand() -> None:
    assert knapsack().least() == CachePlan.alike([NONE] * 4, 2)
    least = knapsack(demanded()).least()
    assert least is not None
    assert demanded().judge(least.state(HEAD_DIM)).met
    assert knapsack(Demand(PowerLaw(1e9, 0.7), demanded().terms)).least() is None


def test_less_of_a_cache_never_holds_more_than_all_of_it() -> None:
    """Capacities that were not measured for sparse caches reach from the lowest to the highest of other kinds."""
    terms = Terms.parse({"length": LENGTH, "shortest": 64}, "terms")
    sack = knapsack(Demand(PowerLaw(4.0, 0.7), terms))
    judged = sack.rules.demand
    assert judged is not None
    full, part, bound = (CachePlan.alike([kept] * 4, 2).state(HEAD_DIM) for kept in (FULL, SPARSE, WINDOW))
    assert terms.capacity("sparse_attention")[2] > terms.capacity("attention")[2]
    for state in (part, bound):
        for less, more in zip(judged.held(state, LENGTH), judged.held(full, LENGTH), strict=True):
            assert less == pytest.approx(more * state.elements(LENGTH) / full.elements(LENGTH))
    held = judged.held(full, LENGTH // 2)[2]
    between = knapsack(Demand(PowerLaw(1.01 * held / (LENGTH // 2) ** 0.7, 0.7), terms))
    assert between.least() is None  # sparse caches of a third of the bytes met it


def test_a_plan_is_judged_alone_not_beside_what_it_might_have_been() -> None:
    """A state that holds nothing has no capacity that is an interval, so that the requirement's judged end counts."""
    law = PowerLaw(0.01, 0.7, draws=np.array([[0.01, 0.7, offset] for offset in np.linspace(-2, 1, 40)]))
    terms = Terms.parse({"length": LENGTH, "shortest": 64}, "terms")
    sack = Knapsack(SHAPE, units_of(SHAPE, OPTIONS, "layer"), Rules(LENGTH, DTYPES, Demand(law, terms), ("level",)))
    least = sack.least()
    assert least is not None
    assert sack.meets(least)
    assert least != CachePlan.alike([NONE] * 4, 2)


def test_heads_are_units_of_their_own() -> None:
    sack = knapsack(grain="head")
    assert [(unit.layer, unit.heads) for unit in sack.units[:3]] == [(0, (0,)), (0, (1,)), (1, (0,))]
    costs = costs_of(sack, 1)
    found = sack.solve(costs, 0.3 * sack.own_bytes)
    assert found is not None
    assert sack.bytes(found) <= 0.3 * sack.own_bytes
    together = knapsack()
    joined = together.solve(costs.reshape(4, 2, -1).sum(1), 0.3 * sack.own_bytes)
    assert joined is not None
    assert sack.predicted(found, costs) <= sack.predicted(joined, costs)  # type: ignore[operator]
    unlike = CachePlan.own(SHAPE).but(0, [0], WINDOW)
    assert together.picks(unlike) == [None, 0, 0, 0]
    assert together.predicted(unlike, costs) is None
    assert sack.picks(unlike) == [1, *[0] * 7]


def test_a_layer_that_has_a_window_may_take_smaller_ones_alone() -> None:
    shape = Shape((WHOLE, SLIDING), 4, 2, HEAD_DIM, 40)
    options = [set(unit.options) for unit in units_of(shape, OPTIONS, "layer")]
    assert options == [{FULL, *OPTIONS}, {Kept("window", 40), WINDOW, NONE}]


def test_known_plans_use_the_budget_as_far_as_they_can() -> None:
    sack = knapsack()
    budget = 0.5 * sack.own_bytes
    plans = known(sack, [Kept("window"), Kept("sparse", sinks=4, chunk=8)], budget, LENGTH)
    assert set(plans) == {
        "uniform window",
        "uniform sparse by use",
        "every 3rd layer full, windows with sinks between",
    }
    for name, plan in plans.items():
        assert 0.97 * budget < sack.bytes(plan) <= budget, name
    assert plans["every 3rd layer full, windows with sinks between"].picture == "W W A W"


def test_random_plans_use_the_budget_and_meet_the_demand() -> None:
    demand = demanded()
    sack = knapsack(demand, "head")
    budget = 0.4 * sack.own_bytes
    plans = list(random_plans(sack, budget, 6, 0))
    assert len(set(plans)) > 3
    for plan in plans:
        assert 0.97 * budget <= sack.bytes(plan) <= budget
        assert demand.judge(plan.state(HEAD_DIM)).met


def test_a_model_of_many_layers_is_solved() -> None:
    """In how many seconds: benchmarks/latency.py."""
    shape = Shape((WHOLE,) * 48, 32, 8, 128, 0)
    options = [Kept("window", 65 * n) for n in range(1, 6)] + [SPARSE]
    rules = Rules(LENGTH, DTYPES, demanded(), ("growth", "level"))
    sack = Knapsack(shape, units_of(shape, options, "head"), rules)
    costs = np.random.default_rng(0).exponential(size=(len(sack.units), len(options) + 1))
    costs = -np.sort(-costs, axis=1)[:, ::-1].copy()
    plan = sack.solve(costs, 0.2 * sack.own_bytes)
    assert plan
    assert sack.bytes(plan) <= 0.2 * sack.own_bytes
