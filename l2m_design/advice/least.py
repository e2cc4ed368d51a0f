"""The least integer that is enough, by bisection; the smallest exponent of two digits that is."""

from collections.abc import Callable


def least(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """The least integer in low..high that is enough, if `high` is; more must never be less than enough."""
    if low > high or not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low


def least_above(enough: Callable[[int], bool], low: int, highest: int) -> int | None:
    """As least, for an answer that is likely near `low`: the upper end is doubled until it is enough."""
    high = low
    while not enough(high):
        if high >= highest:
            return None
        low, high = high + 1, min(2 * high, highest)
    return least(enough, low, high)


def two_digits(exponent: float) -> float:
    """The smallest exponent of two digits that is not below `exponent`."""
    near = round(exponent, 2)
    return near if near >= exponent else round(near + 0.01, 2)
