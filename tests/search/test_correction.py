"""Correction: what Optuna asks for around the solution of a knapsack whose costs are wrong."""

import numpy as np

from l2m_design.architecture.plans import WHOLE, CachePlan, Kept, Shape
from l2m_design.laws import Dtypes
from l2m_design.search.adoption.knapsack import Knapsack, Rules, units_of
from l2m_design.search.study.correction import Neighbourhood

SHAPE = Shape((WHOLE,) * 9, 4, 2, 16, 0)
OPTIONS = [Kept("window", 33), Kept("window", 129)]


def sack() -> Knapsack:
    return Knapsack(SHAPE, units_of(SHAPE, OPTIONS, "layer"), Rules(512, Dtypes("bfloat16")))


def test_better_plans_are_found_where_costs_do_not_add_up() -> None:
    """Together, windows of the lower layers cost five times what they do alone."""
    knapsack = sack()
    alone = np.random.default_rng(0).exponential(size=(9, 3))
    alone[:, 0], alone[:, 2] = 0.0, alone[:, 1] / 3
    together = alone.copy()
    together[:3, 1:3] *= 5.0
    budget = 0.3 * knapsack.own_bytes
    known = {"uniform window": CachePlan.alike([OPTIONS[1]] * 9, 2)}
    measured: list[CachePlan] = []
    steps: list[tuple[int, int]] = []

    def measure(plan: CachePlan) -> float:
        measured.append(plan)
        return knapsack.predicted(plan, together) or 0.0

    around = Neighbourhood(knapsack, alone, budget, known)
    found = around.search(measure, 20, 0, lambda done, total: steps.append((done, total)))
    losses = {tried.name: tried.loss for tried in found}
    assert found[0].loss < 0.95 * losses["solved"]
    assert found[0].name.startswith("solved, trial")
    assert "uniform window" in losses
    assert sorted(losses.values()) == [tried.loss for tried in found]
    assert len(measured) == len(set(measured)) == len(found) > 4
    assert all(knapsack.bytes(tried.plan) <= budget for tried in found)
    assert steps == [(n + 1, 22) for n in range(22)]
    again = around.search(measure, 20, 0, lambda done, total: None)
    assert again == found


def test_without_trials_the_solution_and_known_plans_are_measured() -> None:
    knapsack = sack()
    costs = np.random.default_rng(1).exponential(size=(9, 3))
    found = Neighbourhood(knapsack, costs, 0.4 * knapsack.own_bytes, {}).search(lambda plan: 1.0, 0, 0, print)
    assert [tried.name for tried in found] == ["solved"]
