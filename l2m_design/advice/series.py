"""The series of models: a fixed state holds up to some length, so each length needs a member of its own, a larger one.

Source: arXiv 2503.04725: a series of models that grow with the length may meet the condition where none of them does.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from l2m_design.advice.least import least_above
from l2m_design.advice.stack import Stack
from l2m_design.advice.surgery import is_window
from l2m_design.condition import Demand
from l2m_design.laws import Fixed, StateLaw, Tokens
from l2m_design.terms import REACH_LIMIT

LARGEST = 10**9


@dataclass(frozen=True)
class Dimension:
    """A size that a family's state follows: its name, what it is now, and the model's law where it is another."""

    name: str
    now: int
    law: Callable[[int], StateLaw]


def is_fixed(stack: Stack) -> bool:
    """Does the state stop growing, as that of windows and recurrences does?"""
    terms = [term for term in stack.state.terms if term.elements]
    return bool(terms) and all(isinstance(term.growth, Fixed) or is_window(term) for term in terms)


def factor(stack: Stack, demand: Demand, length: int) -> float:
    """By how much the state must be multiplied to meet the level at all lengths up to `length`, exactly."""
    return math.exp(-min(demand.slack(stack.state, each) for each in demand.grid(length)))


def member(dimension: Dimension, demand: Demand, length: int) -> int | None:
    """The least size whose state meets the level up to `length`; None where none does (a window at short lengths)."""
    return least_above(lambda size: demand.covers(dimension.law(size), length), 1, LARGEST)


def depth(stack: Stack) -> Dimension:
    """Layers, the pattern of the model over and over."""

    def law(layers: int) -> StateLaw:
        times, more = divmod(layers, len(stack.layers))
        whole = StateLaw(tuple(term for one in stack.layers for term in one.terms)).merged()
        repeated = tuple(replace(term, elements=term.elements * times) for term in whole.terms if times)
        extra = tuple(term for one in stack.layers[:more] for term in one.terms)
        return StateLaw((*stack.rest.terms, *repeated, *extra)).merged()

    return Dimension("layers", len(stack.layers), law)


def window(stack: Stack) -> tuple[Dimension, ...]:
    """Tokens that each window holds, where there are windows."""
    caps = [term.growth.count(REACH_LIMIT) for term in stack.state.terms if is_window(term)]

    def law(tokens: int) -> StateLaw:
        held = Tokens(tokens)
        return StateLaw(tuple(replace(t, growth=held) if is_window(t) else t for t in stack.state.terms)).merged()

    return (Dimension("window", max(caps), law),) if caps else ()
