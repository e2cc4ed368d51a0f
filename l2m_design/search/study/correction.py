"""Correction: Optuna looks for better plans around the solution of the knapsack.

A trial is the solution under costs that factors raise or lower, one for each third of the layers and each kind of
cache: so every plan is within the budget and meets the condition. The solution itself and known plans are tried first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.samplers import TPESampler

from l2m_design.architecture.plans import CachePlan
from l2m_design.estimates import Floats
from l2m_design.search.adoption.knapsack import Knapsack

SOLVED = "solved"
THIRDS = ("lower", "middle", "upper")
WIDEST = 3.0  # a factor and its inverse
STARTING = 5  # trials at random, the solution among them

Measure = Callable[[CachePlan], float]


@dataclass(frozen=True)
class Tried:
    """A plan that was tried: its name, and what it loses, nats per token."""

    name: str
    plan: CachePlan
    loss: float


@dataclass(frozen=True)
class Neighbourhood:
    """Plans around the solution of a knapsack for a budget of bytes. costs: see Knapsack. known: further plans."""

    knapsack: Knapsack
    costs: Floats
    budget: float
    known: dict[str, CachePlan]

    def search(self, measure: Measure, trials: int, seed: int, on_step: Callable[[int, int], None]) -> list[Tried]:
        """What was tried, best first: the solution itself, the known plans, and what `trials` trials of Optuna ask for.
        A plan that was tried before is not measured again.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        found: dict[CachePlan, Tried] = {}
        groups, total = _groups(self.knapsack), 1 + len(self.known) + trials

        def tried(number: int, name: str, plan: CachePlan) -> float:
            if plan not in found:
                found[plan] = Tried(name, plan, measure(plan))
            on_step(number + 1, total)
            return found[plan].loss

        def objective(trial: optuna.Trial) -> float:
            factors = {group: trial.suggest_float(group, 1 / WIDEST, WIDEST, log=True) for group in groups}
            plan = self.knapsack.solve(_scaled(self.knapsack, self.costs, factors), self.budget)
            if plan is None:
                raise optuna.TrialPruned
            if trial.number == 0:
                return tried(0, SOLVED, plan)
            return tried(len(self.known) + trial.number, f"{SOLVED}, trial {trial.number}", plan)

        study = optuna.create_study(sampler=TPESampler(seed=seed, n_startup_trials=STARTING))
        study.enqueue_trial(dict.fromkeys(groups, 1.0))
        study.optimize(objective, n_trials=1)
        for number, (name, plan) in enumerate(self.known.items(), 1):
            tried(number, name, plan)
        study.optimize(objective, n_trials=trials)
        return sorted(found.values(), key=lambda tried: tried.loss)


def _groups(knapsack: Knapsack) -> list[str]:
    kinds = dict.fromkeys(kept.cache for unit in knapsack.units for kept in unit.options[1:])
    return [f"{third} {kind}" for third in THIRDS for kind in kinds]


def _scaled(knapsack: Knapsack, costs: Floats, factors: dict[str, float]) -> Floats:
    """The costs [units, options], each times the factor of its third and kind."""
    scaled = np.array(costs)
    layers = len(knapsack.shape.layers)
    for u, unit in enumerate(knapsack.units):
        third = THIRDS[3 * unit.layer // layers]
        for o, kept in enumerate(unit.options[1:], 1):
            scaled[u, o] *= factors[f"{third} {kept.cache}"]
    return scaled
