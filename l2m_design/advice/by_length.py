"""Length by length: what the data require, what a model holds, and the member of its family that would do."""

import math
from collections.abc import Sequence
from typing import TypedDict

from l2m_design.advice.series import Dimension, depth, factor, is_fixed, member
from l2m_design.advice.stack import Stack
from l2m_design.condition import Demand
from l2m_design.laws import StateLaw


class Elements(TypedDict):
    """State elements that hold what is required: as those of the state hold on average, and by the hard bound."""

    effective: int | None
    hard: int | None


class Required(TypedDict):
    """What is required at a context length: nats, and the elements that hold them."""

    asked_nats: float | None
    asked_elements: Elements


class AtLength(Required):
    """A row of `by_length`, as JSON. held_elements: after half the context. member: see members."""

    length: int
    held_elements: int
    state_elements: int
    state_bytes: int
    meets_level: bool | None
    meets_level_hard: bool | None
    meets: bool
    member: dict[str, float | int | None] | None


def required_at(demand: Demand, length: int, state: StateLaw) -> Required:
    """What is required of this state at a context length."""
    if not demand.has_level:
        return {"asked_nats": None, "asked_elements": {"effective": None, "hard": None}}
    half = max(1, length // 2)
    held = state.elements(half)
    own = demand.capacity(state, half) / held if held else demand.terms.nats_per_element
    effective, hard = (math.ceil(demand.elements(length, nats)) for nats in (own, demand.hard_nats))
    return {"asked_nats": demand.nats(length), "asked_elements": {"effective": effective, "hard": hard}}


def by_length(
    stack: Stack, width: int, dimensions: Sequence[Dimension], demand: Demand, lengths: Sequence[int]
) -> list[AtLength]:
    """JSON-ready rows, one for each length.

    held_elements: after half the context, which the level compares with what is required; state_elements and
    state_bytes: at the length itself. meets: growth, and the level up to the length. member: see `members`.
    """
    grows = demand.grows(stack.state)
    rows: list[AtLength] = []
    for length in lengths:
        covered = demand.covers(stack.state, length) if demand.has_level else None
        hard = demand.covers(stack.state, length, demand.hard_nats) if demand.has_level else None
        rows.append(
            {
                "length": length,
                **required_at(demand, length, stack.state),
                "held_elements": stack.state.elements(max(1, length // 2)),
                "state_elements": stack.state.elements(length),
                "state_bytes": stack.state.bytes(length, demand.terms.dtypes),
                "meets_level": covered,
                "meets_level_hard": hard,
                "meets": grows and covered is not False,
                "member": members(stack, width, dimensions, demand, length),
            }
        )
    return rows


def members(
    stack: Stack, width: int, dimensions: Sequence[Dimension], demand: Demand, length: int
) -> dict[str, float | int | None] | None:
    """Of a model with a fixed state: how large its member for a length is, in each of its sizes, all else as it is.

    factor: of the whole state; the least of each size (None where no such size is enough), layers among them; and the
    width, about: it scales heads with it. None where the state grows, or no amount is known.
    """
    if not demand.has_level or not is_fixed(stack):
        return None
    times = factor(stack, demand, length)
    sizes = {each.name: member(each, demand, length) for each in (*dimensions, depth(stack))}
    return {"factor": times, **sizes, "width_about": math.ceil(width * times)}
