"""How many architectures of a space meet the condition, and what change of the space would make one that does."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand
from l2m_design.errors import BadInput
from l2m_design.estimates import NORMAL
from l2m_design.laws import StateLaw
from l2m_design.search.space import counting
from l2m_design.search.space.layout import Layers
from l2m_design.search.space.space import Space
from l2m_design.settings import Json

Judge = Callable[[Architecture], bool]

ALL = 4096
SAMPLE = 500
BOTH = ("growth", "level")
LARGER = ("exponent", "window", "kv_heads", "d_state")
ATTENTION = {"kind": "attention", "heads": 4, "kv_heads": 4, "head_dim": 32}


@dataclass(frozen=True)
class Feasibility:
    """How many architectures of a space meet the condition.

    drawings: architectures in the space. fitting: those checked that fit the budget. met: how many of these meet the
    condition. exact: were all architectures checked, instead of a random sample?
    """

    drawings: int
    looked: int
    met: int
    exact: bool
    fitting: tuple[Architecture, ...] = ()

    @property
    def share(self) -> float:
        """Of the architectures looked at, how many meet the condition."""
        return self.met / self.looked

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the share (Wilson); of no width where all were looked at."""
        return (self.share, self.share) if self.exact else wilson(self.met, self.looked)

    def plain(self) -> Json:
        """JSON-ready; feasible: how many architectures, where all were looked at."""
        return {
            "drawings": self.drawings,
            "feasible_share": self.share,
            "feasible": self.met if self.exact else None,
            "feasible_interval": list(self.interval),
            "sampled": self.looked,
        }


def wilson(met: int, looked: int) -> tuple[float, float]:
    """95% interval of a share of which `met` of `looked` are seen (Wilson's score interval)."""
    share, z = met / looked, NORMAL**2 / looked
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(z * share * (1 - share) + z * z / 4) / (1 + z)
    return (max(0.0, middle - half) if met else 0.0), (min(1.0, middle + half) if met < looked else 1.0)


def judged_by(demand: Demand, enforced: Sequence[str] = BOTH) -> Judge:
    """Does an architecture meet these parts of the condition? As `Demand.judge` says, without the reach."""
    return lambda architecture: meets(demand, architecture.state, enforced)


def meets(demand: Demand, state: StateLaw, enforced: Sequence[str] = BOTH) -> bool:
    """Does a state meet these parts of the condition, as far as is known?"""
    if "growth" in enforced and not demand.grows(state):
        return False
    if "level" not in enforced or not demand.has_level:
        return True
    return all(demand.room(state, length) >= 0 for length in reversed(demand.grid(demand.terms.length)))


def feasible(space: Space, judge: Judge, vocabulary: int, seed: int = 0) -> Feasibility:
    """How many architectures are feasible: of all where the space holds at most 4,096, else of 500 drawn at random."""
    drawings = space.drawings
    if drawings <= ALL:
        looked = list(counting.each(space))
    else:
        rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
        looked = [drawn_at_random(space, rng) for _ in range(SAMPLE)]
    fitting = tuple(_fitting(space, looked, vocabulary))
    return Feasibility(drawings, len(looked), sum(map(judge, fitting)), drawings <= ALL, fitting)


def drawn_at_random(space: Space, rng: random.Random) -> Layers:
    """Layers at random: each different mixer of a position is as likely, each period as it has lists.

    With sizes: shared, each kind and each option.
    """
    if space.sizes == "shared":
        period = _period(space, len(space.offered), rng)
        kinds = [rng.choice(space.kinds_at(layer)) for layer in range(period)]
        values = {name: rng.choice(options) for name, options in space.choices.items()}
        return [space.mixer(kinds[layer % period], values) for layer in range(space.depth)]
    mixers = [space.mixers_of(space.kinds_at(layer)) for layer in range(space.spans[-1])]
    period = _period(space, len(mixers[0]), rng)
    unit = [rng.choice(mixers[layer]) for layer in range(period)]
    return [unit[layer % period] for layer in range(space.depth)]


def _period(space: Space, options: int, rng: random.Random) -> int:
    return rng.choices(space.spans, [float(options) ** (span - space.spans[-1]) for span in space.spans])[0]


def _fitting(space: Space, drawings: list[Layers], vocabulary: int) -> Iterator[Architecture]:
    for layers in drawings:
        try:
            yield space.fitted(layers, vocabulary)
        except BadInput:
            continue


def refusal(space: Space, demand: Demand, vocabulary: int, where: str, enforced: Sequence[str] = BOTH) -> str:
    """Say that no architecture of a space meets the condition: what is required, and the smallest change."""
    fitting = list(_fitting(space, _extremes(space), vocabulary))
    most = max(
        (drawing.state for drawing in fitting), key=lambda state: (state.exponent, state.logarithmic), default=None
    )
    offered = most.growth if most else "none"
    said = f"required growth: {demand.growth}, available at most: {offered}"
    if (most and demand.grows(most)) or "growth" not in enforced:
        slacks = [min(demand.room(drawing.state, n) for n in demand.grid(demand.terms.length)) for drawing in fitting]
        said = f"the largest state is {math.exp(max(slacks, default=-math.inf)):.2g} times the required one"
    change = nearest_change(space, demand, vocabulary, enforced)
    return f"{where}: no architecture of this space meets the condition ({said}); smallest change: {change}"


def largest_meets(space: Space, judge: Judge, vocabulary: int) -> bool:
    """Is an architecture with the most state feasible?"""
    return any(map(judge, _fitting(space, _extremes(space), vocabulary)))


def nearest_change(space: Space, demand: Demand, vocabulary: int, enforced: Sequence[str] = BOTH) -> str:
    """Find the first change that makes some architecture feasible: larger sizes, full attention, a smaller demand.

    `space` must be resolved. Architectures with the most state are tried, of one mixer type wherever the layout allows.
    """
    judge = judged_by(demand, enforced)
    for said, changed in _larger(space, demand.exponent):
        if largest_meets(changed, judge, vocabulary):
            return f"{said} would be enough"
    attention = next((t for t in space.kinds.values() if _is_full_attention(t)), ATTENTION)
    names = [value[1:] for value in attention.values() if isinstance(value, str) and value.startswith("$")]
    for values in space.values(names):
        full = {field: values[v[1:]] if isinstance(v, str) and v[1:] in values else v for field, v in attention.items()}
        mixed = [[full, *layers[1:]] for layers in _extremes(space)]
        if any(map(judge, _fitting(space, mixed, vocabulary))):
            return "full attention in one layer would be enough"
    return _smaller(space, demand, vocabulary, enforced)


def _is_full_attention(template: dict[str, Any]) -> bool:
    return template.get("kind") == "attention" and not {"window", "share"} & set(template)


def _extremes(space: Space) -> list[Layers]:
    """Architectures among which the one with the most state is: for each kind, of every size, in all its layers."""
    if space.pattern is None:
        return [[mixer] * space.depth for mixer in space.mixers]
    names = space.uses(space.offered)
    largest = {name: max(space.choices[name], key=_size) for name in names}
    changed = [largest | {name: option} for name in names for option in space.choices[name]]
    every = [largest, *changed]
    return [[space.mixer(space.kinds_at(layer)[0], values) for layer in range(space.depth)] for values in every]


def _size(option: Any) -> float:
    return float(option) if isinstance(option, int | float) else -math.inf


def _larger(space: Space, exponent: float) -> Iterator[tuple[str, Space]]:
    """Spaces with one size made larger, to the asked exponent and on by tenths, or by doublings; the smallest first."""
    for step in range(1, 5):
        for place, field, old in _sizes(space):
            if field == "exponent":
                asked = min(1.0, math.ceil(exponent * 100 - 1e-9) / 100)
                new: float = round(min(1.0, max(asked, old) + (step - 1 if asked > old else step) * 0.1), 2)
            else:
                new = int(old) * 2**step
            if new > old:
                yield f"{'.'.join(place)}: {new:g} instead of {old:g}", _changed(space, place, old, new)


def _sizes(space: Space) -> Iterator[tuple[tuple[str, ...], str, float]]:
    """Where the sizes stand that a larger state may come from: as options (the largest of them), or in a template."""
    found: dict[tuple[str, ...], tuple[str, float]] = {}
    for field in LARGER:
        for kind in space.offered:
            value = space.kinds[kind].get(field)
            if isinstance(value, str) and value.startswith("$"):
                numbers = [_size(option) for option in space.choices[value[1:]]]
                found.setdefault(("choices", value[1:]), (field, max(numbers)))
            elif isinstance(value, int | float):
                found.setdefault(("kinds", kind, field), (field, value))
    yield from ((place, field, old) for place, (field, old) in found.items() if math.isfinite(old))


def _changed(space: Space, place: tuple[str, ...], old: float, new: float) -> Space:
    """The space with `new` in the place of `old`."""
    if place[0] == "choices":
        options = [new if option == old else option for option in space.choices[place[1]]]
        return space.model_copy(update={"choices": space.choices | {place[1]: options}})
    _, kind, field = place
    return space.model_copy(update={"kinds": space.kinds | {kind: space.kinds[kind] | {field: new}}})


def _smaller(space: Space, demand: Demand, vocabulary: int, enforced: Sequence[str]) -> str:
    """The longest target length, or the lower end of beta, at which some architecture is feasible."""
    fitting = list(_fitting(space, _extremes(space), vocabulary))

    def some(**terms: Any) -> bool:
        asked = replace(demand, terms=demand.terms.model_copy(update=terms))
        return any(meets(asked, drawing.state, enforced) for drawing in fitting)

    short, long = 4, demand.terms.length
    if some(length=short):
        while long - short > max(1, short // 100):
            middle = (short + long) // 2
            short, long = (middle, long) if some(length=middle) else (short, middle)
        return f"condition.length: {short} instead of {demand.terms.length} would be enough"
    ends = ["upper", "value", "lower"]
    for end in ends[ends.index(demand.terms.end) + 1 :]:
        if some(end=end):
            return f"condition.end: {end} instead of {demand.terms.end} would be enough"
    return (
        "none found: larger sizes, a layer of full attention, a smaller length and a lower end of beta are not enough"
    )
