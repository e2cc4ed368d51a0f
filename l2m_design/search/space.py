"""Space: a flat tree of choices from which architectures are drawn, all of one parameter count."""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from l2m_design.architecture import MLP, Architecture, MixerSpec
from l2m_design.architecture.mixers import KeyValueMixer
from l2m_design.errors import BadInput
from l2m_design.settings import Values, unknown_key

Pick = Callable[[str, list[Any]], Any]
Option = int | float | str | bool | None

DEMAND = "demand"
NEAREST = "nearest"
SHARING = ("attention", "sparse_attention", "mla")
WIDTHS = range(16, 16385, 8)


class _Mixers(Values):
    layers: Annotated[tuple[MixerSpec, ...], Field(strict=False)]

    @classmethod
    def of(cls, layers: list[dict[str, Any]]) -> tuple[MixerSpec, ...]:
        """The drawn layers; one that shares the nearest cache like its own keeps one where there is none before it."""
        own = [{name: value for name, value in layer.items() if name != "share"} for layer in layers]
        specs = cls.parse({"layers": own}, "kinds").layers
        keeps: list[int] = []
        for index, (layer, spec) in enumerate(zip(layers, specs, strict=True)):
            if not isinstance(spec, KeyValueMixer):
                continue
            like = [other for other in keeps if getattr(specs[other], "cache", None) == spec.cache]
            if like and layer.get("share") == NEAREST:
                own[index]["share"] = like[-1]
            else:
                keeps.append(index)
        return cls.parse({"layers": own}, "kinds").layers


class Space(Values):
    """What may vary from layer to layer, and what all candidates share.

    kinds: mixer templates by name; "$name" stands for a choice, "share: nearest" for the cache of the nearest earlier
    layer whose cache could be this one's. choices: options by name, the same in every
    layer, always asked for, used where the picked kind names them; the option "demand" is the exponent that
    the data ask for. parameters: the budget that the width is solved for, to within `tolerance`.
    """

    depth: Annotated[int, Field(ge=1, le=256)]
    parameters: Annotated[int, Field(ge=1)]
    tolerance: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.03
    tied_embeddings: bool = True
    mlp: MLP = MLP()
    kinds: dict[str, dict[str, Any]]
    choices: dict[str, Annotated[list[Option], Field(min_length=1)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        if not self.kinds:
            raise ValueError("kinds: at least one mixer template is needed")
        for name, template in self.kinds.items():
            if "share" in template and template.get("kind") not in SHARING:
                raise ValueError(f"kinds.{name}: share: {template.get('kind')} keeps no cache that could be shared")
            if template.get("share", NEAREST) != NEAREST:
                raise ValueError(f"kinds.{name}: share: a template may stand anywhere; only '{NEAREST}' is allowed")
            for value in template.values():
                if isinstance(value, str) and value.startswith("$") and value[1:] not in self.choices:
                    raise ValueError(f"kinds.{name}: {value}: {unknown_key(value[1:], self.choices)}")
        return self

    def resolved(self, exponent: float) -> "Space":
        """The space with the demanded exponent, rounded up to hundredths, in the place of "demand"."""
        asked = min(1.0, math.ceil(exponent * 100 - 1e-9) / 100)
        choices = {
            name: list(dict.fromkeys(asked if option == DEMAND else option for option in options))
            for name, options in self.choices.items()
        }
        return self.model_copy(update={"choices": choices})

    def draw(self, pick: Pick, vocabulary: int) -> Architecture:
        """One architecture by the answers of `pick(name, options)`. Raises BadInput when nothing fits."""
        return self.fitted(self._layers(pick), vocabulary)

    def least(self, pick: Pick, vocabulary: int) -> Architecture:
        """The same layers at the least width that suits them, whatever the budget: what a misfit looked like."""
        mixers = _Mixers.of(self._layers(pick))
        width = next(w for w in WIDTHS if not any(mixer.misfit(w) for mixer in mixers))
        return self._bare(mixers, width, vocabulary)

    def _layers(self, pick: Pick) -> list[dict[str, Any]]:
        layers = []
        for index in range(self.depth):
            kind = pick(f"layer{index}.kind", list(self.kinds))
            values = {name: pick(f"layer{index}.{name}", options) for name, options in self.choices.items()}
            layers.append(self.mixer(kind, values))
        return layers

    def _bare(self, mixers: tuple[MixerSpec, ...], width: int, vocabulary: int) -> Architecture:
        """The drawing with the smallest MLP."""
        return Architecture(
            vocabulary=vocabulary,
            width=width,
            tied_embeddings=self.tied_embeddings,
            mlp=MLP.of_hidden(8, width),
            layers=mixers,
        )

    def mixer(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        """The template of a kind with its choices filled in."""
        return {
            field: values[value[1:]] if isinstance(value, str) and value.startswith("$") else value
            for field, value in self.kinds[kind].items()
        }

    def fitted(self, layers: list[dict[str, Any]], vocabulary: int) -> Architecture:
        """The drawing whose width meets the parameter budget; the MLP's ratio takes up the remainder.

        Of the widths that fit within the tolerance, the one whose MLP ratio is nearest the asked. Raises
        BadInput naming the layer that does not fit.
        """
        mixers = _Mixers.of(layers)
        best: tuple[float, Architecture] | None = None
        smallest: Architecture | None = None
        for width in WIDTHS:
            if any(mixer.misfit(width) for mixer in mixers):
                continue
            bare = self._bare(mixers, width, vocabulary)
            smallest = smallest or bare
            hidden = 8 + 8 * round((self.parameters - bare.parameters) / (24 * width * self.depth))
            if hidden < 8:
                break
            if hidden > 100 * width:
                continue
            fit = bare.model_copy(update={"mlp": MLP.of_hidden(hidden, width)})
            off = abs(math.log(fit.mlp.ratio / self.mlp.ratio))
            if abs(fit.parameters / self.parameters - 1) <= self.tolerance and (best is None or off < best[0]):
                best = off, fit
        if best is None:
            raise BadInput(self._misfit(smallest))
        return best[1]

    def _misfit(self, smallest: Architecture | None) -> str:
        """Which part of the smallest drawing goes over the budget."""
        if smallest is None:
            return f"kinds: no width up to {WIDTHS[-1]} suits every layer"
        width = smallest.width
        spent = smallest.parameters - sum(layer.parameters(width) for layer in smallest.layers)
        if spent > self.parameters:
            return (
                f"parameters: {self.parameters} cannot hold the embeddings and MLPs alone: at the least "
                f"width, {width}, they take {spent}"
            )
        for index, layer in enumerate(smallest.layers):
            spent += layer.parameters(width)
            if spent > self.parameters:
                return (
                    f"parameters: {self.parameters} cannot hold layer {index} ({layer.kind}): at the least "
                    f"width, {width}, the drawing takes {smallest.parameters}"
                )
        return (
            f"parameters: no width meets {self.parameters} within {self.tolerance:.0%}; "
            "give a larger tolerance or budget"
        )

    @property
    def mixers(self) -> list[dict[str, Any]]:
        """Every different layer that the choices allow."""
        found: dict[str, dict[str, Any]] = {}
        for kind, template in self.kinds.items():
            used = [v[1:] for v in template.values() if isinstance(v, str) and v.startswith("$")]
            for values in product(*(self.choices[name] for name in used)):
                mixer = self.mixer(kind, dict(zip(used, values, strict=True)))
                found[repr(mixer)] = mixer
        return list(found.values())

    @property
    def drawings(self) -> int:
        """How many different drawings the space holds."""
        return int(len(self.mixers) ** self.depth)

    def choice_names(self) -> Iterator[tuple[str, list[Any]]]:
        """Every question that `draw` asks, with its options."""
        for index in range(self.depth):
            yield f"layer{index}.kind", list(self.kinds)
            for name, options in self.choices.items():
                yield f"layer{index}.{name}", options


def check_space(space: Space, designs: dict[str, dict[str, Any]], vocabulary: int, where: str) -> None:
    """Draw every mixer in all layers, and the known designs: an impossible budget is said before any work.

    Raises BadInput naming the file.
    """
    try:
        for mixer in space.mixers:
            space.fitted([mixer] * space.depth, vocabulary)
        for picks in designs.values():
            space.draw(lambda name, options, p=picks: p[name], vocabulary)  # type: ignore[misc]
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
