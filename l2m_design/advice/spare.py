"""If the condition is met: how much less state would be enough.

Growth requires at least one layer whose state grows fast enough; all others are needed for capacity only. So the
smallest state is found by keeping the growing layer with the smallest state, and giving the other growing layers the
smallest windows or fixed states that are enough.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from l2m_design.advice.change import Change
from l2m_design.advice.least import least, two_digits
from l2m_design.advice.stack import Stack
from l2m_design.advice.surgery import (
    THIN_CHUNK,
    grown,
    is_full,
    is_recurrent,
    is_window,
    keeps_tokens,
    settled,
    shortened,
    thinned,
    windowed,
)
from l2m_design.condition import Demand
from l2m_design.laws import StateLaw
from l2m_design.terms import REACH_LIMIT


def spare(stack: Stack, demand: Demand) -> list[Change]:
    """Changes of a stack that meets the condition after which it still does, and holds less at the target."""
    held = stack.state.elements(demand.terms.length)
    return [
        change for change in _changes(stack, demand) if change.elements(demand) < held and change.after.meets(demand)
    ]


def _changes(stack: Stack, demand: Demand) -> Iterator[Change]:
    may, stays = free(stack, demand)
    windows = tuple(i for i, law in enumerate(stack.layers) if any(is_window(term) for term in law.terms))
    yield from _windows(stack, demand, may)
    yield from _fixed(stack, demand, may)
    yield from _shorter(stack, demand, windows)
    yield from _smaller(stack, demand)
    thin = _thin(stack, demand, (*may, *stays))
    if thin:
        exponent = two_digits(demand.exponent)
        yield Change("sparse", tuple(sorted(thin)), stack.changed(thin), exponent=exponent, keep=1.0)
    kept = {i: law for i, law in thin.items() if i in stays}
    if kept:
        yield from _thinned_too(stack, demand, kept, may)
    if windows and (may or kept):
        changes = _thinned_too(stack, demand, kept, (*may, *windows))
        yield from (change for change in changes if set(change.layers) & set(windows))


def _thin(stack: Stack, demand: Demand, layers: tuple[int, ...]) -> dict[int, StateLaw]:
    """The layers that cache all keys, with t^exponent keys instead; none if that evicts nothing."""
    exponent = two_digits(demand.exponent)
    if not 0 < exponent < 1 or demand.terms.length < 2 * THIN_CHUNK:
        return {}
    return {i: thinned(stack.layers[i], exponent) for i in layers if _is_full(stack.layers[i])}


def _thinned_too(stack: Stack, demand: Demand, kept: dict[int, StateLaw], may: tuple[int, ...]) -> Iterator[Change]:
    """Windows instead of the layers `may`, shorter ones if they are windows, while the layers `kept` evict."""
    for change in _windows(stack.changed(kept), demand, may):
        layers = tuple(i for i in change.layers if change.after.layers[i] != stack.layers[i])
        yield _also_thinned(replace(change, layers=layers), demand, kept)


def _also_thinned(change: Change, demand: Demand, kept: dict[int, StateLaw]) -> Change:
    """The change with what it says of the layers that it thins, if any."""
    if not kept:
        return change
    return replace(change, exponent=two_digits(demand.exponent), keep=1.0, thinned=tuple(sorted(kept)))


def free(stack: Stack, demand: Demand) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of the layers that growth does not need, those that pay most first, and of the growing ones it keeps."""
    required, length = demand.exponent, demand.terms.length
    growing = [i for i, law in enumerate(stack.layers) if law.exponent > 0 and law.exponent >= required]
    may = [i for i in growing if keeps_tokens(stack.layers[i])]
    may.sort(key=lambda i: (-stack.layers[i].elements(length), i))
    stays = [i for i in growing if i not in may]
    if may and not stays and not demand.grows(StateLaw()):
        stays = [may.pop()]
    return tuple(may), tuple(stays)


def _windows(stack: Stack, demand: Demand, may: tuple[int, ...]) -> Iterator[Change]:
    for layers, tokens, after in _become(stack, demand, may, _narrowed, max(1, demand.terms.length // 2)):
        yield Change("window", layers, after, window_tokens=tokens)


def _fixed(stack: Stack, demand: Demand, may: tuple[int, ...]) -> Iterator[Change]:
    largest = max((stack.layers[i].elements(max(1, demand.terms.length // 2)) for i in may), default=1)
    for layers, elements, after in _become(stack, demand, may, settled, largest):
        yield Change("fixed", layers, after, fixed_elements=elements)


def _shorter(stack: Stack, demand: Demand, windows: tuple[int, ...]) -> Iterator[Change]:
    """All windows that there are, none longer than the level needs."""

    def changed(tokens: int) -> Stack:
        return stack.changed({i: shortened(stack.layers[i], tokens) for i in windows})

    tokens = least(lambda tokens: changed(tokens).covers(demand), 1, REACH_LIMIT)
    if tokens is not None:
        longer = tuple(i for i in windows if shortened(stack.layers[i], tokens) != stack.layers[i])
        yield Change("shorter_window", longer, changed(tokens), window_tokens=tokens)


def _smaller(stack: Stack, demand: Demand) -> Iterator[Change]:
    """All recurrent states, in hundredths of what they are: none larger than the level needs."""
    layers = tuple(i for i, law in enumerate(stack.layers) if any(map(is_recurrent, law.terms)))

    def changed(hundredths: int) -> Stack:
        return stack.changed({i: grown(stack.layers[i], hundredths, is_recurrent) for i in layers})

    hundredths = least(lambda hundredths: changed(hundredths).covers(demand), 1, 99) if layers else None
    if hundredths is not None:
        yield Change("smaller_state", layers, changed(hundredths), factor=hundredths / 100)


def _become(
    stack: Stack, demand: Demand, may: tuple[int, ...], become: Callable[[StateLaw, int], StateLaw], largest: int
) -> Iterator[tuple[tuple[int, ...], int, Stack]]:
    """The most layers, those first in `may`, that may become something, with its least size; nothing if none may."""

    def changed(count: int, size: int) -> Stack:
        return stack.changed({i: become(stack.layers[i], size) for i in may[:count]})

    for count in range(len(may), 0, -1):
        size = least(lambda size, count=count: changed(count, size).covers(demand), 1, largest)  # type: ignore[misc]
        if size is not None:
            yield tuple(sorted(may[:count])), size, changed(count, size)
            return


def _narrowed(law: StateLaw, tokens: int) -> StateLaw:
    """A window of `tokens` instead of all keys, or at most as long a one."""
    return windowed(law, tokens) if law.exponent > 0 else shortened(law, tokens)


def _is_full(law: StateLaw) -> bool:
    """Is every key of it kept?"""
    return keeps_tokens(law) and all(is_full(term) for term in law.terms if term.growth.exponent > 0)
