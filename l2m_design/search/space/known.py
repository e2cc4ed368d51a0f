"""Known designs: the architectures that a lab would have tried without a search, in the layers of a space."""

from collections.abc import Callable, Iterator
from typing import Any

from l2m_design.search.space.layout import Design, Picks
from l2m_design.search.space.space import Space

PATTERNS: dict[str, Callable[[int, int], str]] = {
    "all attention": lambda layer, depth: "attention",
    "all Mamba-2": lambda layer, depth: "mamba2",
    "all windows": lambda layer, depth: "window",
    "Jamba-like (1 attention in 8)": lambda layer, depth: "attention" if layer % 8 == min(7, depth // 2) else "mamba2",
    "1 attention in 4": lambda layer, depth: "attention" if layer % 4 == min(2, depth // 2) else "mamba2",
    "Samba-like (Mamba-2 + window)": lambda layer, depth: "window" if layer % 2 else "mamba2",
    "window + attention 3:1": lambda layer, depth: "attention" if layer % 4 == min(3, depth - 1) else "window",
    "Gemma-like (window + attention 5:1)": lambda layer, depth: (
        "attention" if layer % 6 == min(5, depth - 1) else "window"
    ),
    "all sparse at the demand": lambda layer, depth: "sparse",
}
SMALL_WINDOWS = "all windows"  # the one baseline of the smallest window: what far context is worth is read off it
REFERENCE = "all attention"


def known_designs(space: Space, exponent: float) -> dict[str, Design]:
    """Designs by name, whose kinds the space holds and whose layers its layout can draw; `space` must be resolved.

    The reference is there wherever its kind is: where the layout cannot draw it, it has layers but no picks. Sizes
    are the largest on offer, but for SMALL_WINDOWS; the sparse exponent is the smallest that meets the demand. Of
    patterns that are one at this depth the first gives its name.
    """
    largest = {name: _pick(name, options, exponent) for name, options in space.choices.items()}
    designs: dict[str, Design] = {}
    there: list[list[str]] = []
    for name, pattern in PATTERNS.items():
        kinds = [pattern(layer, space.depth) for layer in range(space.depth)]
        if not set(kinds) <= set(space.kinds) or kinds in there:
            continue
        there.append(kinds)
        small = name == SMALL_WINDOWS and "window" in space.choices
        sizes = largest | ({"window": min(_numbers(space.choices["window"]))} if small else {})
        picks = _picks(space, kinds, sizes)
        if picks is not None or name == REFERENCE:
            designs[name] = Design([space.mixer(kind, sizes) for kind in kinds], picks or {})
    return designs


def largest_picks(space: Space) -> Iterator[Picks]:
    """Picks of the most state: of each kind all layers, of the largest sizes on offer; in a fixed pattern its kinds."""
    sizes = {name: max(_numbers(options), default=options[0]) for name, options in space.choices.items()}
    places = [space.kinds_at(layer) for layer in range(space.depth)]
    for kind in space.offered:
        picks = _picks(space, [kind if kind in place else place[0] for place in places], sizes)
        if picks is not None:
            yield picks


def _picks(space: Space, kinds: list[str], sizes: Picks) -> Picks | None:
    """The answers that draw these kinds, by the shortest period that does; none where none does."""
    for period in space.spans:
        picks: Picks = {}
        for name, _ in space.choice_names():
            where, _, asked = name.partition(".")
            if name == "period":
                picks[name] = period
            else:
                picks[name] = kinds[int(where.removeprefix("layer"))] if asked == "kind" else sizes[asked]
        if space.kinds_of(picks) == kinds:
            return picks
    return None


def _pick(choice: str, options: list[Any], exponent: float) -> Any:
    numbers = _numbers(options)
    if choice == "exponent":
        return min([o for o in numbers if o >= exponent - 1e-9] or [max(numbers)])
    return max(numbers) if numbers else options[0]


def _numbers(options: list[Any]) -> list[Any]:
    return [option for option in options if not isinstance(option, str) and option is not None]
