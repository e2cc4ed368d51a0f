"""Known plans: what others do with the same bytes (one window for all, every n-th layer full), and random ones."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from l2m_design.architecture.plans import FULL, SINKS, CachePlan, Kept, Shape
from l2m_design.search.adoption.knapsack import Knapsack

EVERY = (2, 3, 4, 6, 8)
FLOORS = (0.97, 0.9, 0.0)  # of the budget: fewest bytes of a random plan, the first that some plan meets
BETWEEN = Kept("sinks+window", sinks=SINKS)  # a model that was trained with full attention needs its first tokens
COMPETE = "all heads compete"


def known(knapsack: Knapsack, templates: list[Kept], budget: float, length: int) -> dict[str, CachePlan]:
    """Known plans within a budget of bytes, by name: each kind of cache in all layers alike, and windows with sinks
    between full layers. A layer's own window stays where it is smaller. length: see Kept.holding.
    """
    found = {}
    for template in templates:
        if plan := largest(knapsack, partial(_alike, knapsack, template, length), budget, most(template, length)):
            found[f"uniform {named(template)}"] = plan
    for n in EVERY:
        between = partial(_alike, knapsack, BETWEEN, length, every=n)
        if n < len(knapsack.shape.whole) and (plan := largest(knapsack, between, budget, most(BETWEEN, length))):
            found[f"every {n}{ending(n)} layer full, windows with sinks between"] = plan
    return found


def competing(found: dict[str, CachePlan]) -> dict[str, CachePlan]:
    """Plans by name in which the heads of all layers compete, one for each plan where they can."""
    pooled = {f"{name}, {COMPETE}": plan.competing() for name, plan in found.items()}
    return {name: plan for name, plan in pooled.items() if plan}


def uniform(plan: CachePlan, shape: Shape) -> str | None:
    """The name of a plan whose layers of full attention all keep alike, and less than everything; none of another."""
    kept = {each for layer in shape.whole for each in plan.layers[layer]}
    if len(kept) != 1 or FULL in kept:
        return None
    each = kept.pop()
    return f"uniform {named(each)}" + (f", {COMPETE}" if each.allocate == "model" else "")


def named(template: Kept) -> str:
    """A kind of cache in words."""
    if template.cache != "sparse":
        return "window with sinks" if template.sinks else template.cache
    rule = {"use": "sparse by use", "attention_mass": "sparse by attention (H2O)"}[template.choose]
    return rule + (f", t^{template.exponent:g}" if template.exponent else "")


def ending(n: int) -> str:
    """Of an ordinal below 20."""
    return {2: "nd", 3: "rd"}.get(n, "th")


def most(template: Kept, length: int) -> int:
    """The most tokens that a cache of this kind may hold in windows of `length` and evict some, 0 where it cannot."""
    for held in range(length - 1, 0, -1):
        try:
            if template.holding(held, length).evicts(length):
                return held
        except ValueError:  # too few tokens for this kind
            break
    return 0


def largest(knapsack: Knapsack, made: Callable[[int], CachePlan], budget: float, high: int) -> CachePlan | None:
    """The plan of the most tokens, `high` or fewer, whose bytes are within the budget; none where no number is."""
    low, best = 0, None
    while low < high:
        middle = (low + high + 1) // 2
        try:
            plan = made(middle)
        except ValueError:  # too few tokens for this kind
            low = middle
            continue
        if knapsack.bytes(plan) <= budget:
            low, best = middle, plan
        else:
            high = middle - 1
    return best


def _alike(knapsack: Knapsack, template: Kept, length: int, held: int, every: int = 0) -> CachePlan:
    """Every layer keeps what `template` says of `held` tokens, but every n-th of full attention stays whole."""
    kept, shape = template.holding(held, length), knapsack.shape
    whole, layers = shape.whole, []
    for layer in range(len(shape.layers)):
        own = shape.own(layer)
        if own != FULL:
            layers.append(kept if kept.reach and own.reach and kept.reach < own.reach else own)
        else:
            layers.append(FULL if every and whole.index(layer) % every == every - 1 else kept)
    return CachePlan.alike(layers, shape.kv_heads)


def random_plans(knapsack: Knapsack, budget: float, count: int, seed: int) -> Iterator[CachePlan]:
    """Plans that use the budget nearly up and meet what is enforced: the best ones under costs drawn at random."""
    rng = np.random.default_rng([seed, 19])
    most = max(len(unit.options) for unit in knapsack.units)
    for _ in range(count):
        costs = rng.standard_normal((len(knapsack.units), most))
        plans = (knapsack.solve(costs, budget, floor * budget) for floor in FLOORS)
        if plan := next((plan for plan in plans if plan), None):
            yield plan
