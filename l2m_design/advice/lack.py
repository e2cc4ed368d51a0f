"""Where the condition is not met: how much more is needed, and of what."""

from collections.abc import Callable, Iterator

from l2m_design.advice.change import Change, To
from l2m_design.advice.least import least, least_above, two_digits
from l2m_design.advice.stack import Stack
from l2m_design.advice.surgery import (
    THIN_CHUNK,
    budgeted,
    grown,
    is_budget,
    is_full,
    is_recurrent,
    is_window,
    opened,
    widened,
)
from l2m_design.condition import Demand
from l2m_design.laws import StateLaw, StateTerm
from l2m_design.terms import REACH_LIMIT

HEAD = 128  # elements a token of one head: a key and a value of 64
LARGEST = 10**9  # hundredths: no state is advised to grow more than ten million times


def lack(stack: Stack, demand: Demand) -> list[Change]:
    """Changes of a stack that does not meet the condition: after some it does, after others its level is covered."""
    found = [*_more_layers(stack, demand), *_more_budget(stack, demand), *_more_of_the_same(stack, demand)]
    if not any(change.after.covers(demand) for change in found):
        found += _times(stack, demand, "larger_all", _having(stack, lambda term: True), lambda term: True)
    return found


def _having(stack: Stack, sort: Callable[[StateTerm], bool]) -> tuple[int, ...]:
    return tuple(i for i, law in enumerate(stack.layers) if any(sort(term) for term in law.terms))


def _candidates(stack: Stack) -> list[int]:
    """Layers that could keep keys of all tokens, those that have keys first, the smallest of them first."""
    keyed = [
        i for i in (*_having(stack, is_window), *_having(stack, is_budget)) if not any(map(is_full, _of(stack, i)))
    ]
    others = [i for i in _having(stack, is_recurrent) if i not in keyed and not any(map(is_full, _of(stack, i)))]
    return sorted(set(keyed), key=lambda i: (opened(stack.layers[i], stack.slot).elements(1), i)) + others


def _slot(stack: Stack, layers: tuple[int, ...], slot: int) -> int | None:
    """`slot`, what layers without keys would keep of a token, if any of these has none."""
    keyed = {*_having(stack, is_window), *_having(stack, is_budget)}
    return None if set(layers) <= keyed else slot


def _of(stack: Stack, index: int) -> tuple[StateTerm, ...]:
    return stack.layers[index].terms


def _more_layers(stack: Stack, demand: Demand) -> Iterator[Change]:
    """The fewest layers that must cache the keys of all tokens, or of as many as the required exponent says."""
    could, exponent = _candidates(stack), two_digits(demand.exponent)
    yield from _opened(stack, demand, could, None)
    if 0 < exponent < 1 and demand.terms.length >= 2 * THIN_CHUNK:
        yield from _opened(stack, demand, [i for i in could if i not in _having(stack, is_budget)], exponent)


def _opened(stack: Stack, demand: Demand, could: list[int], exponent: float | None) -> Iterator[Change]:
    """The fewest of the layers, and where these have no keys of their own the least of a token, in whole heads."""
    layers = _fewest(stack, demand, could, lambda law: opened(law, stack.slot, exponent))
    if not layers:
        return

    def after(slot: int) -> Stack:
        return stack.changed({i: opened(stack.layers[i], slot, exponent) for i in layers})

    heads = least(lambda heads: after(heads * HEAD).meets(demand), 1, stack.slot // HEAD)
    slot = heads * HEAD if heads else stack.slot
    own = _slot(stack, layers, slot)
    if exponent is None:
        yield Change("full", layers, after(slot), slot_elements=own)
    else:
        yield Change("sparse", layers, after(slot), exponent=exponent, keep=1.0, slot_elements=own)


def _fewest(stack: Stack, demand: Demand, could: list[int], become: Callable[[StateLaw], StateLaw]) -> tuple[int, ...]:
    for count in range(1, len(could) + 1):
        if stack.changed({i: become(stack.layers[i]) for i in could[:count]}).meets(demand):
            return tuple(sorted(could[:count]))
    return ()


def _more_budget(stack: Stack, demand: Demand) -> Iterator[Change]:
    """Steeper budgets in as few layers as do, or steeper and larger ones in all."""
    layers, exponent = _having(stack, is_budget), min(1.0, two_digits(demand.exponent))
    if not layers:
        return
    if fewest := _fewest(stack, demand, list(layers), lambda law: budgeted(law, exponent)):
        after = stack.changed({i: budgeted(stack.layers[i], exponent) for i in fewest})
        yield Change("larger_budget", fewest, after, exponent=exponent, factor=1.0)
        return

    def larger(hundredths: int) -> Stack:
        return stack.changed({i: budgeted(stack.layers[i], exponent, hundredths) for i in layers})

    found = least_above(lambda hundredths: larger(hundredths).meets(demand), 101, 10**6)
    if found is not None:
        yield Change("larger_budget", layers, larger(found), exponent=exponent, factor=found / 100)


def _more_of_the_same(stack: Stack, demand: Demand) -> Iterator[Change]:
    """Longer windows and larger fixed states: they cover a length, and never growth."""
    if stack.covers(demand):
        return
    if layers := _having(stack, is_window):

        def longer(tokens: int) -> Stack:
            return stack.changed({i: widened(stack.layers[i], tokens) for i in layers})

        now = min(term.growth.count(REACH_LIMIT) for i in layers for term in _of(stack, i) if is_window(term))
        found = least_above(lambda tokens: longer(tokens).covers(demand), now, max(now, demand.terms.length))
        if found is not None:
            yield Change("longer_window", layers, longer(found), window_tokens=found, factor=round(found / now, 4))
    if layers := _having(stack, is_recurrent):
        yield from _times(stack, demand, "larger_state", layers, is_recurrent)


def _times(
    stack: Stack, demand: Demand, to: To, layers: tuple[int, ...], sort: Callable[[StateTerm], bool]
) -> Iterator[Change]:
    """The smallest factor, in hundredths, on the terms of a sort in these layers that covers the target."""

    def larger(hundredths: int) -> Stack:
        return stack.changed({i: grown(stack.layers[i], hundredths, sort) for i in layers})

    found = least_above(lambda hundredths: larger(hundredths).covers(demand), 101, LARGEST)
    if found is not None:
        yield Change(to, layers, larger(found), factor=found / 100)
