"""The trade-off between state and loss along the front: what each halving of the state costs, and where it turns."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from l2m_design.estimates import Estimate
from l2m_design.search.results.choice import Contender
from l2m_design.search.results.paired import gap
from l2m_design.search.results.values import TradeStep


def front_of(contenders: Sequence[Contender]) -> list[Contender]:
    """Those that no other beats in both state and the loss that picked, by falling state.

    Picked so, the losses that are quoted along the front are of documents and seeds that did not make it.
    """
    best: list[Contender] = []
    for one in sorted(contenders, key=lambda one: (one.state_bytes, _picked_by(one))):
        if not best or _picked_by(one) < _picked_by(best[-1]):
            best.append(one)
    return best[::-1]


def _picked_by(one: Contender) -> float:
    return one.loss if one.picked_by is None else one.picked_by


def tradeoff(contenders: Sequence[Contender]) -> list[TradeStep]:
    """A step along the front from each model to the next smaller; the knee is marked at the model it leads to.

    Costs are paired over documents and seeds, with 95% intervals. A model that the next smaller one beats beyond that
    interval is left out: the loss that picked it was luck.
    """
    front = front_of(contenders)
    while (worse := next((one for one, other in pairwise(front) if _beaten(one, other)), None)) is not None:
        front.remove(worse)
    bend = knee(front)
    steps = []
    for larger, smaller in pairwise(front):
        halvings = math.log2(max(1, larger.state_bytes) / max(1, smaller.state_bytes))
        cost = gap(smaller.losses, larger.losses)
        each = None
        if cost and halvings:
            each = Estimate(cost.value / halvings, cost.low / halvings, cost.high / halvings, cost.level)
        steps.append(
            TradeStep(
                larger=larger.name,
                smaller=smaller.name,
                state_bytes=smaller.state_bytes,
                halvings=halvings,
                cost=cost,
                cost_per_halving=each,
                knee=smaller.name == bend,
            )
        )
    return steps


def _beaten(larger: Contender, smaller: Contender) -> bool:
    cost = gap(smaller.losses, larger.losses)
    return cost is not None and cost.high < 0


def knee(front: Sequence[Contender]) -> str | None:
    """The model furthest below the chord of the front, both axes (log state, loss) scaled to one; none of fewer than
    three (Satopaa et al. 2011, "Finding a kneedle in a haystack").
    """
    if len(front) < 3:
        return None
    size = np.log2([max(1, one.state_bytes) for one in front])
    loss = np.array([_picked_by(one) for one in front])
    x = (size - size.min()) / (size.max() - size.min())
    y = (loss - loss.min()) / (loss.max() - loss.min())
    below = (1 - x) - y  # the chord runs from (0, 1) to (1, 0)
    best = int(below.argmax())
    return front[best].name if below[best] > 0 else None
