"""Layout: which questions a space asks, and which layers the answers make."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from l2m_design.search.space.sharing import NEAREST, SHARING
from l2m_design.settings import Values, unknown_key

Pick = Callable[[str, list[Any]], Any]
Option = int | float | str | bool | None
Layers = list[dict[str, Any]]
Picks = dict[str, Option]  # a space's questions with their answers

DEMAND = re.compile(r"demand([+-]\d*\.?\d+)?")
LEAST_EXPONENT = 0.05


@dataclass(frozen=True)
class Design:
    """A named architecture: its layers, and the choices of the space that give them, or none if the space cannot
    express it.
    """

    layers: Layers
    picks: Picks


class Layout(Values):
    """What may vary from layer to layer.

    depth: number of layers. layout: free (each layer has its own choices), periodic (the first `periods` layers have
    choices and are repeated up to the depth) or fixed (the kinds of `pattern` are repeated, and only sizes are chosen).
    periods: allowed lengths of the period. pattern: names of kinds, in order. sizes: per_layer, or shared (one choice
    for all layers). kinds: templates of layers by name; a value "$NAME" refers to a choice, and "share: nearest" reads
    the cache of the nearest earlier layer of the same sizes. designs_only: names of kinds that only baselines use.
    choices: list of options by name, used if the chosen kind refers to it; the option "demand" is the required
    exponent, "demand-0.2" and "demand+0.1" differ from it by that amount.
    """

    depth: Annotated[int, Field(ge=1, le=256)]
    layout: Literal["free", "periodic", "fixed"] = "free"
    periods: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=8)] | None = None
    pattern: Annotated[list[str], Field(min_length=1)] | None = None
    sizes: Literal["per_layer", "shared"] = "per_layer"
    kinds: dict[str, dict[str, Any]]
    designs_only: list[str] = Field(default_factory=list)
    choices: dict[str, Annotated[list[Option], Field(min_length=1)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        if not self.kinds:
            raise ValueError("kinds: must contain at least one mixer template")
        for name, template in self.kinds.items():
            if "share" in template and template.get("kind") not in SHARING:
                raise ValueError(f"kinds.{name}: share: {template.get('kind')} has no cache that could be shared")
            if template.get("share", NEAREST) != NEAREST:
                raise ValueError(f"kinds.{name}: share: must be '{NEAREST}', since a template can be at any layer")
            for value in template.values():
                if isinstance(value, str) and value.startswith("$") and value[1:] not in self.choices:
                    raise ValueError(f"kinds.{name}: {value}: {unknown_key(value[1:], self.choices)}")
        for name, options in self.choices.items():
            for option in options:
                if isinstance(option, str) and option.startswith("demand") and not DEMAND.fullmatch(option):
                    raise ValueError(
                        f"choices.{name}: '{option}': must be a number, or demand, demand-0.2, demand+0.1, ..."
                    )
        return self

    @model_validator(mode="after")
    def _layout_is_whole(self) -> Self:
        for name, layout in (("periods", "periodic"), ("pattern", "fixed")):
            if (getattr(self, name) is not None) != (self.layout == layout):
                asked = "required by" if self.layout == layout else "allowed only with"
                raise ValueError(f"{name}: {asked} layout: {layout}")
        if self.periods and max(self.periods) > self.depth:
            raise ValueError(f"periods: {max(self.periods)} must be at most depth ({self.depth})")
        if self.pattern and len(self.pattern) > self.depth:
            raise ValueError(f"pattern: has {len(self.pattern)} layers, must have at most depth ({self.depth})")
        for field in ("pattern", "designs_only"):
            for kind in getattr(self, field) or []:
                if kind not in self.kinds:
                    raise ValueError(f"{field}: {unknown_key(kind, self.kinds)}")
        if not self.offered:
            raise ValueError("designs_only: contains all kinds; leave at least one for the search")
        if self.pattern and set(self.pattern) & set(self.designs_only):
            raise ValueError("pattern: contains a kind of designs_only, so the space is empty")
        return self

    @property
    def offered(self) -> list[str]:
        """Kinds that random sampling may use."""
        drawn = self.kinds if self.pattern is None else dict.fromkeys(self.pattern)
        return [kind for kind in drawn if kind not in self.designs_only]

    @property
    def spans(self) -> list[int]:
        """The periods that may be drawn, ascending; only the depth where nothing is repeated."""
        return sorted(set(self.periods)) if self.periods else [self.depth]

    def kinds_at(self, layer: int) -> list[str]:
        """Kinds that random sampling may put there."""
        return self.offered if self.pattern is None else [self.pattern[layer % len(self.pattern)]]

    def uses(self, kinds: Sequence[str]) -> list[str]:
        """The choices that the templates of these kinds name, in the order of `choices`."""
        named = {value for kind in kinds for value in self.kinds[kind].values() if isinstance(value, str)}
        return [name for name in self.choices if f"${name}" in named]

    def choice_names(self) -> Iterator[tuple[str, list[Any]]]:
        """Every question that `draw` asks, with its options: the same for every architecture."""
        if len(self.spans) > 1:
            yield "period", list(self.spans)
        for index in range(self.spans[-1]):
            if self.pattern is None:
                yield f"layer{index}.kind", list(self.kinds)
            if self.sizes == "per_layer":
                for name in self._asked([index]):
                    yield f"layer{index}.{name}", self.choices[name]
        if self.sizes == "shared":
            for name in self._asked(range(self.depth)):
                yield f"all.{name}", self.choices[name]

    def _asked(self, layers: Sequence[int]) -> list[str]:
        if self.pattern is None:
            return list(self.choices)
        return self.uses([kind for layer in layers for kind in self.kinds_at(layer)])

    def kinds_of(self, picks: Picks) -> list[str]:
        """The kind of every layer by these answers."""
        if self.pattern is not None:
            return [self.kinds_at(layer)[0] for layer in range(self.depth)]
        period = self._period(picks)
        return [str(picks[f"layer{layer % period}.kind"]) for layer in range(self.depth)]

    def _period(self, picks: Picks) -> int:
        if len(self.spans) == 1:
            return self.spans[0]
        period = picks["period"]
        assert isinstance(period, int)
        return period

    def offers(self, picks: Picks) -> bool:
        """May random sampling give these answers? Not where a layer is of a kind of `designs_only`."""
        return not set(self.kinds_of(picks)) & set(self.designs_only)

    def arranged(self, picks: Picks) -> Layers:
        """The layers of these answers; what no layer uses is ignored."""
        period = self._period(picks)
        layers = []
        for layer, kind in enumerate(self.kinds_of(picks)):
            where = "all" if self.sizes == "shared" else f"layer{layer % period}"
            layers.append(self.mixer(kind, {name: picks[f"{where}.{name}"] for name in self.uses([kind])}))
        return layers

    def used(self, picks: Picks) -> Picks:
        """Of these answers those that the layers have: a layer of attention has no d_state."""
        questions = dict(self.choice_names())
        if not questions.keys() <= picks.keys():
            return picks
        period, had = self._period(picks), {"period"}
        for layer, kind in enumerate(self.kinds_of(picks)):
            where = f"layer{layer % period}"
            had |= {f"{where}.kind"}
            had |= {f"{'all' if self.sizes == 'shared' else where}.{name}" for name in self.uses([kind])}
        return {name: pick for name, pick in picks.items() if name in had or name not in questions}

    def asked(self, pick: Pick) -> Layers:
        """The layers by the answers of `pick(name, options)`, which hears every question."""
        return self.arranged({name: pick(name, options) for name, options in self.choice_names()})

    def mixer(self, kind: str, values: Picks) -> dict[str, Any]:
        """The template of a kind with its choices filled in."""
        return {
            field: values[value[1:]] if isinstance(value, str) and value.startswith("$") else value
            for field, value in self.kinds[kind].items()
        }

    def values(self, names: Sequence[str]) -> Iterator[Picks]:
        """Every combination of options of these choices."""
        for options in product(*(dict.fromkeys(self.choices[name]) for name in names)):
            yield dict(zip(names, options, strict=True))

    def mixers_of(self, kinds: Sequence[str]) -> Layers:
        """Every different layer that the choices allow of these kinds."""
        filled = (self.mixer(kind, values) for kind in kinds for values in self.values(self.uses([kind])))
        return list({repr(mixer): mixer for mixer in filled}.values())

    @property
    def mixers(self) -> Layers:
        """Every different layer that random sampling may give."""
        return self.mixers_of(self.offered)

    def resolved(self, exponent: float) -> Self:
        """The space with exponents, rounded up to hundredths, in the place of "demand", "demand-0.2" and their like."""
        choices = {
            name: list(dict.fromkeys(_resolved(option, exponent) for option in options))
            for name, options in self.choices.items()
        }
        return self.model_copy(update={"choices": choices})


def _resolved(option: Option, exponent: float) -> Option:
    found = DEMAND.fullmatch(option) if isinstance(option, str) else None
    if found is None:
        return option
    asked = exponent + float(found[1] or 0)
    rounded = min(1.0, math.ceil(asked * 100 - 1e-9) / 100)
    return max(LEAST_EXPONENT, rounded)  # where no growth is required too
