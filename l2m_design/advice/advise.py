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
