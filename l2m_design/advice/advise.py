"""One call: the changes that answer a demand with the least state, best first."""

from l2m_design.advice.change import Change
from l2m_design.advice.lack import lack
from l2m_design.advice.spare import spare
from l2m_design.advice.stack import Stack
from l2m_design.condition import Demand


def advise(stack: Stack, demand: Demand) -> list[Change]:
    """What could change: less state where the condition is met, more where it is not.

    First those after which the whole condition is met, the least state at the target first; then those that cover
    the level up to the target alone.
    """
    changes = spare(stack, demand) if stack.meets(demand) else lack(stack, demand)
    return sorted(changes, key=lambda change: (not change.after.meets(demand), change.elements(demand)))


def then(stack: Stack, demand: Demand, changes: list[Change]) -> Change | None:
    """What the other layers may evict after the first change of a stack that does not meet the condition; None if
    nothing.
    """
    if stack.meets(demand) or not changes or not changes[0].after.meets(demand):
        return None
    made = set(changes[0].layers)
    return next((c for c in advise(changes[0].after, demand) if made.isdisjoint((*c.layers, *c.thinned))), None)
