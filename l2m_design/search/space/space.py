"""Space: choices that define architectures of equal parameter count or equal flops."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from l2m_design.architecture import MLP, Architecture, MixerSpec
from l2m_design.errors import BadInput
from l2m_design.search.space import counting
from l2m_design.search.space.layout import Design, Layers, Layout, Pick
from l2m_design.search.space.sharing import mixers

__all__ = ["Design", "Pick", "Space", "check_space"]

WIDTHS = range(16, 16385, 8)
BESIDE = 3  # suitable widths that are tried on each side of the one that the asked MLP ratio would take


class Space(Layout):
    """Layers to choose from, and what all candidates have in common.

    equal: what all candidates have in common: parameters, or flops, the forward floating-point operations per token.
    parameters: number of parameters of each candidate. flops_per_token: with equal flops, the flops per token of each
    candidate. flops_length: context length at which flops are counted, in tokens. tolerance: allowed relative deviation
    from the budget. tied_embeddings: use one matrix for input and output embeddings. mlp: MLP of every layer, such as
    {ratio: 2.75}.
    """

    equal: Literal["parameters", "flops"] = "parameters"
    parameters: Annotated[int, Field(ge=1)] | None = None
    flops_per_token: Annotated[float, Field(gt=0.0)] | None = None
    flops_length: Annotated[int, Field(ge=1)] = 2048
    tolerance: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.03
    tied_embeddings: bool = True
    mlp: MLP = MLP()

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        for name, equal in (("parameters", "parameters"), ("flops_per_token", "flops")):
            if (getattr(self, name) is not None) != (self.equal == equal):
                asked = "required by" if self.equal == equal else "allowed only with"
                raise ValueError(f"{name}: {asked} equal: {equal}")
        return self

    @property
    def budget(self) -> tuple[str, float]:
        """The field that candidates are made equal by, and its value."""
        if self.equal == "flops":
            assert self.flops_per_token is not None
            return "flops_per_token", self.flops_per_token
        assert self.parameters is not None
        return "parameters", self.parameters

    @property
    def training_flops_per_token(self) -> float:
        """About the floating-point operations that training spends on a token: three forward passes."""
        name, budget = self.budget
        return 6 * budget if name == "parameters" else 3 * budget

    def spent(self, architecture: Architecture) -> float:
        """What an architecture takes of the budget, in its unit."""
        if self.equal == "flops":
            return architecture.flops(self.flops_length) / self.flops_length
        return architecture.parameters

    def misses(self, architecture: Architecture) -> float:
        """How far an architecture is from the budget, relative to it."""
        return abs(self.spent(architecture) / self.budget[1] - 1)

    def draw(self, pick: Pick, vocabulary: int) -> Architecture:
        """One architecture by the answers of `pick(name, options)`. Raises BadInput when nothing fits."""
        return self.fitted(self.asked(pick), vocabulary)

    def least(self, pick: Pick, vocabulary: int) -> Architecture:
        """The same layers at the least width that suits them, whatever the budget: what a misfit looked like."""
        layers = mixers(self.asked(pick))
        width = next(w for w in WIDTHS if _suits(layers, w))
        return Architecture.model_validate(dict(self._sketch(layers, width, vocabulary)))

    def fitted(self, layers: Layers, vocabulary: int) -> Architecture:
        """The architecture whose width meets the budget; the MLP's ratio takes up the remainder.

        Of the widths that fit within the tolerance, the one whose MLP ratio is nearest the asked. Raises
        BadInput naming the layer that does not fit.
        """
        specs = mixers(layers)
        for widths in (self._likely(specs, vocabulary), WIDTHS):
            best = self._best(specs, widths, vocabulary)
            if best is not None:
                return Architecture.model_validate(dict(best))
        raise BadInput(self._misfit(specs, vocabulary))

    def _sketch(self, specs: tuple[MixerSpec, ...], width: int, vocabulary: int, hidden: int = 8) -> Architecture:
        """An architecture that is not yet validated, by default with the smallest MLP."""
        return Architecture.model_construct(
            vocabulary=vocabulary,
            width=width,
            tied_embeddings=self.tied_embeddings,
            mlp=MLP.of_hidden(hidden, width),
            layers=specs,
        )

    def _hidden(self, specs: tuple[MixerSpec, ...], width: int, vocabulary: int) -> int:
        """Hidden channels of the MLPs that take up what the budget leaves."""
        left = self.budget[1] - self.spent(self._sketch(specs, width, vocabulary))
        a_channel = (6 if self.equal == "flops" else 3) * width * self.depth
        return 8 + 8 * round(left / (8 * a_channel))

    def _likely(self, specs: tuple[MixerSpec, ...], vocabulary: int) -> list[int]:
        """The suitable widths around the one that the asked ratio would take: the ratio falls as the width grows."""
        ratio = self.mlp.ratio
        middle = bisect_left(WIDTHS, True, key=lambda w: self._hidden(specs, w, vocabulary) <= ratio * w)
        below = _first_suitable(specs, reversed(WIDTHS[:middle]))
        return below[::-1] + _first_suitable(specs, WIDTHS[middle:])

    def _best(self, specs: tuple[MixerSpec, ...], widths: Iterable[int], vocabulary: int) -> Architecture | None:
        best: tuple[float, Architecture] | None = None
        for width in widths:
            if not _suits(specs, width):
                continue
            hidden = self._hidden(specs, width, vocabulary)
            if hidden < 8:
                break
            if hidden > 100 * width:
                continue
            fit = self._sketch(specs, width, vocabulary, hidden)
            off = abs(math.log(fit.mlp.ratio / self.mlp.ratio))
            if (best is None or off < best[0]) and self.misses(fit) <= self.tolerance:
                best = off, fit
        return best[1] if best else None

    def _misfit(self, specs: tuple[MixerSpec, ...], vocabulary: int) -> str:
        """Which part of the smallest architecture goes over the budget."""
        width = next((w for w in WIDTHS if _suits(specs, w)), None)
        if width is None:
            return f"kinds: no width up to {WIDTHS[-1]} fits the heads and sizes of every layer"
        name, budget = self.budget
        whole = self.spent(self._sketch(specs, width, vocabulary))
        parts = [self._part(spec, width) for spec in specs]
        spent = whole - sum(parts)
        if spent > budget:
            return (
                f"{name}: {budget:.12g} is too small for the embeddings and MLPs, which take {spent:.12g} at the "
                f"smallest width, {width}"
            )
        for index, (layer, part) in enumerate(zip(specs, parts, strict=True)):
            spent += part
            if spent > budget:
                return (
                    f"{name}: {budget:.12g} is too small for layer {index} ({layer.kind}): the whole architecture "
                    f"takes {whole:.12g} at the smallest width, {width}"
                )
        return f"{name}: no width meets {budget:.12g} within {self.tolerance:.0%}; give a larger tolerance or budget"

    def _part(self, spec: MixerSpec, width: int) -> float:
        """What one mixer takes of the budget."""
        if self.equal == "flops":
            return spec.flops(width, self.flops_length) / self.flops_length
        return spec.parameters(width)

    @property
    def drawings(self) -> int:
        """How many different architectures the space holds, those of `designs_only` left out."""
        return counting.count(self)


def _suits(specs: tuple[MixerSpec, ...], width: int) -> bool:
    return not any(spec.misfit(width) for spec in specs)


def _first_suitable(specs: tuple[MixerSpec, ...], widths: Iterable[int]) -> list[int]:
    found: list[int] = []
    for width in widths:
        if len(found) == BESIDE:
            break
        if _suits(specs, width):
            found.append(width)
    return found


def check_space(space: Space, designs: Mapping[str, Design], vocabulary: int, where: str) -> None:
    """Draw every mixer in all layers, and the baselines: an impossible budget is said before any work.

    Raises BadInput naming the file.
    """
    try:
        for mixer in space.mixers:
            space.fitted([mixer] * space.depth, vocabulary)
        for design in designs.values():
            space.fitted(design.layers, vocabulary)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
