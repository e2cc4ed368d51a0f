"""What others have trained: a change that stays within it, and what such changes cost in the project's own runs.

The condition bounds a state from below, so by itself it lets nearly all layers be windows of any size. What that costs
in loss it does not say. Gemma 3 (arXiv 2503.19786) keeps one full layer in six, the others windows of 1,024 tokens, at
contexts of 131,072; no published decoder with windows alone beside full attention keeps fewer.
"""

from functools import cache
from pathlib import Path

from l2m_design.advice.change import Change
from l2m_design.advice.stack import Stack
from l2m_design.advice.surgery import is_window, keeps_tokens, windowed
from l2m_design.condition import Demand
from l2m_design.settings import Values

ONE_IN, WINDOW = 6, 1024
MODEL = "Gemma 3"
COSTS = Path(__file__).with_name("costs.yaml")  # held against that study by tests/advice


def practised(stack: Stack, demand: Demand) -> Change | None:
    """Windows in all but one of six layers with keys; none where that is no change for the better.

    It is none where as few layers keep all tokens already, the windows would hold the target anyway, or the condition
    would no longer be met.
    """
    growing = [i for i, law in enumerate(stack.layers) if law.exponent > 0 and keeps_tokens(law)]
    keyed = len(growing) + sum(any(map(is_window, law.terms)) for law in stack.layers)
    stay = -(-keyed // ONE_IN)
    if len(growing) <= stay or demand.terms.length < 2 * WINDOW:
        return None
    kept = {growing[(j + 1) * len(growing) // stay - 1] for j in range(stay)}  # evenly, the last among them
    layers = tuple(i for i in growing if i not in kept)
    after = stack.changed({i: windowed(stack.layers[i], WINDOW) for i in layers})
    return Change("window", layers, after, window_tokens=WINDOW) if after.meets(demand) else None


class Cost(Values):
    """Measured cost of windows of at most so many tokens: nats per token above full attention, with the interval."""

    picture: str
    window: int
    nats: float
    low: float
    high: float


class Costs(Values):
    """What windows cost in a shipped study, at contexts of `length` tokens."""

    study: str
    length: int
    parameters: int
    rows: list[Cost]


@cache
def costs() -> Costs:
    """The costs that come with the package."""
    return Costs.load(COSTS)
