"""The knapsack: of each layer or kv head one cache, so that the summed cost is least within a budget of bytes, and the
condition is met. Everything is linear in the choices: bytes, state at every length, whether some layer grows enough.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from l2m_design.architecture.plans import RECURRENT, CachePlan, Kept, Shape
from l2m_design.condition import Demand
from l2m_design.estimates import Floats
from l2m_design.laws import Dtypes, StateLaw

SECONDS = 20.0  # the solver's limit; it takes some hundredths
ROUNDS = 20  # plans that the solver's rows admit and the condition refuses: so many are barred
BOUNDED = ("window", "sparse_attention")  # kinds of state that hold some elements of a full cache


@dataclass(frozen=True)
class Unit:
    """Kv heads of a layer that are given one cache, and which ones they may be given: the model's own first."""

    layer: int
    heads: tuple[int, ...]
    options: tuple[Kept, ...]


def units_of(shape: Shape, kept: list[Kept], grain: str) -> list[Unit]:
    """Every layer, or every kv head. A layer that has a window may take smaller ones alone."""
    found = []
    for layer in range(len(shape.layers)):
        own = shape.own(layer)
        if own.cache == "recurrent":
            continue
        fitting = [each for each in kept if own.reach is None or (each.reach or own.reach) < own.reach]
        if not set(shape.layers[:layer]) - set(RECURRENT):
            fitting = [each for each in fitting if each.cache != "share"]
        heads = tuple(range(shape.kv_heads))
        groups = [heads] if grain == "layer" else [(head,) for head in heads]
        found += [Unit(layer, group, (own, *(each for each in fitting if each != own))) for group in groups]
    return found


@dataclass(frozen=True)
class Rules:
    """What a plan is held to: bytes at the target length in these dtypes; the demand, where there is one, and which of
    its parts are enforced; the most bytes at other lengths.
    """

    length: int
    dtypes: Dtypes
    demand: Demand | None = None
    enforce: tuple[str, ...] = ()
    limits: tuple[tuple[int, float], ...] = ()


class Knapsack:
    """All plans of a model. Costs are [units, most options], nats per token, NaN where a unit has no such option.

    rules: the given ones, but that an element of a window or of a sparse cache has the capacity of one of the full
    cache, of which it is one: less of a cache never counts for more.
    """

    def __init__(self, shape: Shape, units: list[Unit], rules: Rules) -> None:
        demand = rules.demand and replace(rules.demand, terms=rules.demand.terms.alike(BOUNDED, "attention"))
        self.shape, self.units, self.rules = shape, units, replace(rules, demand=demand)
        self._places = [(u, o) for u, unit in enumerate(units) for o in range(len(unit.options))]

    def plan(self, picks: list[int]) -> CachePlan:
        """The plan in which each unit takes its option of this number."""
        plan = CachePlan.own(self.shape)
        for unit, pick in zip(self.units, picks, strict=True):
            plan = plan.but(unit.layer, unit.heads, unit.options[pick])
        return plan

    def bytes(self, plan: CachePlan, length: int = 0) -> int:
        """State bytes of a plan, at the target length unless another is given."""
        return plan.bytes(length or self.rules.length, self.shape.head_dim, self.rules.dtypes)

    def meets(self, plan: CachePlan) -> bool:
        """Does the plan alone meet limits and what is enforced? Where the level is not decided, it does."""
        if any(self.bytes(plan, length) > most for length, most in self.rules.limits):
            return False
        demand = self.rules.demand
        verdict = demand.judge(plan.state(self.shape.head_dim)) if demand else None
        return verdict is None or (
            (verdict.meets_growth or "growth" not in self.rules.enforce)
            and (verdict.meets_level is not False or "level" not in self.rules.enforce)
        )

    @cached_property
    def own_bytes(self) -> int:
        """Of the model itself."""
        return self.bytes(CachePlan.own(self.shape))

    def least(self) -> CachePlan | None:
        """The plan of least bytes that meets what is enforced; none where no plan does."""
        return self._solved(self._bytes, [])

    def solve(self, costs: Floats, budget: float, floor: float = 0.0) -> CachePlan | None:
        """The plan of least summed cost whose bytes lie between floor and budget; none where there is none."""
        flat = np.array([costs[u, o] for u, o in self._places])
        return self._solved(flat, [LinearConstraint(self._bytes[None], floor, budget)])

    def predicted(self, plan: CachePlan, costs: Floats) -> float | None:
        """Summed cost of a plan, nats per token; none where it holds a cache that is no option."""
        picks = self.picks(plan)
        total = 0.0
        for u, pick in enumerate(picks):
            if pick is None:
                return None
            total += float(costs[u, pick])
        return total

    def picks(self, plan: CachePlan) -> list[int | None]:
        """By unit, the number of the option that a plan takes, whichever heads compete for its slots; none where it is
        no option, or its heads keep unlike.
        """
        found: list[int | None] = []
        for unit in self.units:
            kept = {replace(plan.layers[unit.layer][head], allocate="layer") for head in unit.heads}
            known = len(kept) == 1 and kept <= set(unit.options)
            found.append(unit.options.index(kept.pop()) if known else None)
        return found

    def _solved(self, objective: Floats, limits: list[LinearConstraint]) -> CachePlan | None:
        """The best plan that the condition admits when it judges the plan alone."""
        for _ in range(ROUNDS):
            taken = self._taken(objective, limits)
            if taken is None:
                return None
            plan = self.plan([self._places[place][1] for place in taken])
            if self.meets(plan):
                return plan
            barred = np.isin(np.arange(len(self._places)), taken).astype(float)
            limits = [*limits, LinearConstraint(barred[None], 0, len(self.units) - 1)]
        return None

    def _taken(self, objective: Floats, limits: list[LinearConstraint]) -> list[int] | None:
        """The places of the best plan by the solver's rows, one of each unit in order."""
        one = np.zeros((len(self.units), len(self._places)))
        for column, (u, _) in enumerate(self._places):
            one[u, column] = 1.0
        found = milp(
            objective / max(1e-12, float(np.abs(objective).max())),
            integrality=np.ones(len(self._places), dtype=np.int64),
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(one, 1, 1), *self._conditions, *limits],
            options={"time_limit": SECONDS, "mip_rel_gap": 1e-6},
        )
        if found.x is None:
            return None
        return [place for place, x in enumerate(found.x) if x > 0.5]

    @cached_property
    def _laws(self) -> list[StateLaw]:
        of = {kept: kept.state(self.shape.head_dim) for unit in self.units for kept in unit.options}
        return [
            StateLaw(of[self.units[u].options[o]].terms * len(self.units[u].heads)).merged() for u, o in self._places
        ]

    @cached_property
    def _bytes(self) -> NDArray[np.float64]:
        return self._bytes_at(self.rules.length)

    def _bytes_at(self, length: int) -> NDArray[np.float64]:
        return np.array([float(law.bytes(length, self.rules.dtypes)) for law in self._laws])

    @cached_property
    def _conditions(self) -> list[LinearConstraint]:
        """Limits: bytes at other lengths.

        Growth: some layer grows as fast as required. Level: all of them hold what is required, at the best that is
        known of both, at half of every judged length. What is required is taken as of all options together, which is
        the least that it can be: see _solved.
        """
        demand = self.rules.demand
        found = [LinearConstraint(self._bytes_at(length)[None], 0, most) for length, most in self.rules.limits]
        if demand is None:
            return found
        laws = self._laws
        if "growth" in self.rules.enforce:
            grows = np.array([[float(demand.grows(law)) for law in laws]])
            found.append(LinearConstraint(grows, 0.0 if demand.grows(StateLaw()) else 1.0, np.inf))
        if "level" in self.rules.enforce and demand.has_level:
            whole = StateLaw(tuple(term for law in laws for term in law.terms))
            rows, required = [], []
            for length in demand.grid(demand.terms.length):
                half = max(1, length // 2)
                rows.append([demand.held(law, half)[2] for law in laws])
                required.append(demand.least_nats(whole, length))
            scale = np.maximum(np.array(required), 1e-9)
            found.append(LinearConstraint(np.array(rows) / scale[:, None], np.array(required) / scale, np.inf))
        return found
