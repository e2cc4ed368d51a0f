"""Plans: the cache plans that an adoption study's page names, by kind with one colour, and the map of their caches."""

from dataclasses import dataclass

import numpy as np

from l2m_design.architecture.plans import CachePlan
from l2m_design.estimates import Floats
from l2m_design.report.colours import DATA, GOOD, GREY, LINES
from l2m_design.report.words import letter, size
from l2m_design.search.adoption.results import AdoptionSummary, PlanRow, UnitRow

SEARCHED, HEALED = "searched", "searched and healed"
RANDOM, SOLVED, MEASURED = SINGLE = "random plan", "solved", "measured plan"  # how names of single plans begin
COLOURS = {SEARCHED: GOOD, HEALED: DATA, RANDOM: GREY}
LINEAR = 100  # parts of the largest cost, within one of which colours are linear
MOST_ROWS = 128  # layers, or kv heads, of a map
BESIDE = 0.05  # doublings between the marks of plans of one budget, whose intervals would hide each other


@dataclass(frozen=True)
class Kind:
    """Plans of all budgets that were made alike. aside: the factor of their state at which they are drawn."""

    name: str
    colour: str
    rows: list[PlanRow]
    aside: float

    @property
    def line(self) -> bool:
        """Are its plans of one making, so that a line may join them?"""
        return self.name not in SINGLE


def kinds(summary: AdoptionSummary) -> list[Kind]:
    """The searched plans, the healed ones, then what they are compared with."""
    found: dict[str, list[PlanRow]] = {SEARCHED: [budget.best for budget in summary.budgets]}
    found[HEALED] = [budget.healed for budget in summary.budgets if budget.healed]
    others = [row for budget in summary.budgets for row in budget.others]
    for row in sorted(others, key=lambda row: row.name == SOLVED):
        name = next((name for name in SINGLE if row.name.startswith(name)), row.name)
        found.setdefault(name, []).append(row)
    groups = {name: rows for name, rows in found.items() if rows}
    free = iter([each for each in LINES if each not in COLOURS.values()] * len(groups))
    return [
        Kind(name, COLOURS.get(name) or next(free), rows, 2 ** (BESIDE * (number - (len(groups) - 1) / 2)))
        for number, (name, rows) in enumerate(groups.items())
    ]


def marked(summary: AdoptionSummary) -> dict[int, str]:
    """Where the axis of state is marked, in bytes: at each budget, around which its plans are drawn."""
    return {row.bytes: f"{letter(number)}: {size(row.bytes)}" for number, row in enumerate(summary.budgets)}


def linear_part(summary: AdoptionSummary) -> float:
    """Up to which loss above the model's an axis of losses is linear: delta, nats per token."""
    return max(summary.settings.choice.delta, 0.01)


def losses(summary: AdoptionSummary) -> list[float]:
    """What a figure of all plans reaches: the ends of their intervals, predictions where there are none, delta."""
    rows = summary.rows
    ends = [end for row in rows if row.difference for end in (row.difference.low, row.difference.high)]
    guessed = [row.predicted for row in rows if not row.difference and row.predicted is not None]
    return [0.0, linear_part(summary), *ends, *guessed]


def title(row: PlanRow) -> str:
    """The name of a plan, with the letter of its budget."""
    return f"{letter(row.budget)}: {row.name}"


@dataclass(frozen=True)
class CacheMap:
    """Caches by layer or kv head. costs: [options, units] nats per token, NaN where a cache's cost alone was not
    measured. taken: by budget, the cache of each unit in its best plan.
    """

    units: list[UnitRow]
    options: list[str]
    costs: Floats
    taken: list[list[str]]

    @property
    def top(self) -> float:
        """The largest cost, either sign; nats per token."""
        return max(1e-3, float(np.nanmax(np.abs(self.costs))))

    @property
    def by_head(self) -> bool:
        """Is a unit one of several kv heads of its layer?"""
        layers = [unit.layer for unit in self.units]
        return len(set(layers)) < len(layers)

    @property
    def ticks(self) -> dict[int, int]:
        """Layer by unit, where a layer begins."""
        return {number: unit.layer for number, unit in enumerate(self.units) if unit.heads[0] == 0}

    def letters(self, option: str, unit: int) -> list[str]:
        """The budgets whose best plan has this cache there."""
        return [letter(number) for number, names in enumerate(self.taken) if names[unit] == option]


def cache_map(summary: AdoptionSummary) -> CacheMap:
    """The map of the first MOST_ROWS layers or kv heads: all options, then what else the budgets' best plans cache."""
    units = summary.units[:MOST_ROWS]
    taken = [caches(budget.best, units, summary.start.kv_heads) for budget in summary.budgets]
    offered = [name for unit in units for name in unit.options]
    options = list(dict.fromkeys([*offered, *(name for names in taken for name in names)]))
    costs = np.full((len(options), len(units)), np.nan)
    for column, unit in enumerate(units):
        for name, cost in zip(unit.options, unit.costs, strict=True):
            costs[options.index(name), column] = cost
    return CacheMap(units, options, costs, taken)


def caches(plan: PlanRow, units: list[UnitRow], kv_heads: int) -> list[str]:
    """What a plan caches in each unit, in words, whether it is an option or not."""
    layers = CachePlan.of_plain(plan.layers, kv_heads).layers
    kept = [{str(layers[unit.layer][head]) for head in unit.heads} for unit in units]
    return [names.pop() if len(names) == 1 else "heads unlike" for names in kept]
