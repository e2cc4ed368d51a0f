"""Scaling: the same architecture at another number of parameters, wider by heads and deeper by repeating its pattern.

Width grows by a factor that keeps the size of heads and makes their numbers whole; depth by whole patterns, the
shortest run of layers that the architecture repeats. What a state space keeps of a channel (d_state), windows, chunks
and exponents stay.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple, TypedDict

from l2m_design.architecture.architecture import MLP, Architecture
from l2m_design.errors import BadInput

WITH_WIDTH = ("heads", "kv_heads", "kv_rank", "q_rank", "dt_rank")
CLOSE, FARTHEST = 0.1, 0.15  # of the required parameters: near enough to choose by shape, too far to accept
MOST_LAYERS = 1024
MOST_WIDER = 256


class Size(NamedTuple):
    """A size of an architecture: width times factor / unit, `copies` patterns, parameters."""

    factor: int
    copies: int
    parameters: int


def scaled(architecture: Architecture, parameters: int) -> Architecture:
    """The architecture with about this many parameters.

    Of the sizes within 10% the one that keeps the ratio of width and depth best, else the nearest; the MLPs take up the
    remainder. Raises BadInput when the nearest is farther than 15%.
    """
    pattern, unit = period(architecture), unit_of(architecture)
    sizes = list(_sizes(architecture, pattern, unit, parameters))
    nearest = min(sizes, key=lambda size: abs(size.parameters - parameters))
    if abs(nearest.parameters / parameters - 1) > FARTHEST:
        raise BadInput(
            f"`parameters` {parameters:,}: the nearest size of this architecture has {nearest.parameters:,} parameters"
        )

    def stretch(size: Size) -> float:
        """How much more the one of width and depth has grown than the other, in nats."""
        return abs(math.log(size.factor / unit) - math.log(size.copies * pattern / len(architecture.layers)))

    close = [size for size in sizes if abs(size.parameters / parameters - 1) <= CLOSE]
    chosen = min(close, key=stretch, default=nearest)
    made = sized(architecture, pattern, chosen.copies, chosen.factor, unit)
    assert made is not None
    return filled(made, parameters)


def filled(architecture: Architecture, parameters: int) -> Architecture:
    """The architecture with the MLP size, a multiple of 8, that brings it nearest to the required parameters."""
    channel = 3 * architecture.width * len(architecture.layers)
    hidden = (
        architecture.mlp.hidden(architecture.width) + round((parameters - architecture.parameters) / channel / 8) * 8
    )
    if hidden == architecture.mlp.hidden(architecture.width) or hidden < 8:
        return architecture
    return Architecture.parse(
        architecture.plain() | {"mlp": MLP.of_hidden(hidden, architecture.width).plain()}, "scaled"
    )


def period(architecture: Architecture) -> int:
    """Layers of the shortest pattern whose repetition is the architecture; all of them where caches are shared."""
    layers = architecture.layers
    if any(getattr(layer, "share", None) is not None for layer in layers):
        return len(layers)
    lengths = (n for n in range(1, len(layers) + 1) if len(layers) % n == 0)
    return next(n for n in lengths if layers == layers[:n] * (len(layers) // n))


def unit_of(architecture: Architecture) -> int:
    """Into how many equal parts the width can be cut so that each has whole heads, and width stays even."""
    numbers = [architecture.width // 2]
    for layer in architecture.layers:
        plain = layer.plain()
        numbers += [plain[name] for name in WITH_WIDTH if plain.get(name) is not None]
    return math.gcd(*numbers)


def _sizes(architecture: Architecture, pattern: int, unit: int, parameters: int) -> Iterator[Size]:
    """For every width, the depths around the required parameters."""
    deepest = MOST_LAYERS // pattern
    for factor in range(1, unit * MOST_WIDER + 1):
        one = sized(architecture, pattern, 1, factor, unit)
        if one is None:
            continue
        outside = one.vocabulary * one.width * (1 if one.tied_embeddings else 2) + one.width
        inside = one.parameters - outside
        depth = (parameters - outside) // inside
        for copies in sorted({min(max(1, depth + more), deepest) for more in (0, 1)}):
            yield Size(factor, copies, outside + copies * inside)
        if one.parameters > parameters:
            return


def sized(architecture: Architecture, pattern: int, copies: int, factor: int, unit: int) -> Architecture | None:
    """`copies` patterns at factor / unit times the width; none where a layer does not fit."""
    layers = []
    for copy in range(copies):
        for layer in architecture.layers[:pattern]:
            plain = layer.plain()
            plain |= {name: plain[name] * factor // unit for name in WITH_WIDTH if plain.get(name) is not None}
            if plain.get("share") is not None:
                plain["share"] += copy * pattern
            layers.append(plain)
    plain = architecture.plain() | {"width": architecture.width * factor // unit, "layers": layers}
    try:
        return Architecture.parse(plain, "scaled")
    except BadInput:
        return None


Counted = TypedDict("Counted", {"from": int, "to": int})
Ratio = TypedDict("Ratio", {"from": float, "to": float})


class Grown(TypedDict):
    """What has grown from one architecture to another, as JSON."""

    parameters: Counted
    width: Counted
    layers: Counted
    mlp_ratio: Ratio


def summary(architecture: Architecture, made: Architecture) -> Grown:
    """What has grown."""
    return {
        "parameters": {"from": architecture.parameters, "to": made.parameters},
        "width": {"from": architecture.width, "to": made.width},
        "layers": {"from": len(architecture.layers), "to": len(made.layers)},
        "mlp_ratio": {"from": architecture.mlp.ratio, "to": made.mlp.ratio},
    }
