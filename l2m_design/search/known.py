"""Known designs: the architectures that a lab would have tried without a search, as picks in a space."""

from collections.abc import Callable
from typing import Any

from l2m_design.search.space import Space

PATTERNS: dict[str, Callable[[int, int], str]] = {
    "all attention": lambda layer, depth: "attention",
    "all Mamba-2": lambda layer, depth: "mamba2",
    "1 attention in 8": lambda layer, depth: "attention" if layer % 8 == min(7, depth // 2) else "mamba2",
    "window + attention 3:1": lambda layer, depth: "attention" if layer % 4 == min(3, depth - 1) else "window",
    "Mamba-2 + window": lambda layer, depth: "window" if layer % 2 else "mamba2",
    "all sparse at the demand": lambda layer, depth: "sparse",
}
REFERENCE = "all attention"


def known_designs(space: Space, exponent: float) -> dict[str, dict[str, Any]]:
    """Picks by design name, for the designs whose kinds the space holds; `space` must be resolved.

    Sizes are the largest on offer; the sparse exponent is the smallest that meets the demand.
    """
    designs = {}
    for name, pattern in PATTERNS.items():
        kinds = [pattern(layer, space.depth) for layer in range(space.depth)]
        if not set(kinds) <= set(space.kinds):
            continue
        picks: dict[str, Any] = {}
        for layer, kind in enumerate(kinds):
            picks[f"layer{layer}.kind"] = kind
            for choice, options in space.choices.items():
                picks[f"layer{layer}.{choice}"] = _pick(choice, options, exponent)
        designs[name] = picks
    return designs


def _pick(choice: str, options: list[Any], exponent: float) -> Any:
    numbers = [option for option in options if not isinstance(option, str) and option is not None]
    if choice == "exponent":
        return min([o for o in numbers if o >= exponent - 1e-9] or [max(numbers)])
    return max(numbers) if numbers else options[0]
