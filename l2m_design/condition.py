"""The L²M condition: may this state law keep up with what these data ask for?

Two questions, two answers. Growth: is the state's exact exponent at least beta (default: the upper end of
beta's interval)? Level: is dim z(L/2) at least I(L/2; L) / eta at every length up to the target, eta being
nats per state element, an assumption, or measured for each kind of layer (`l2m calibrate`) on a known source? The
condition fixes a rate; the constant eta it cannot give.
Source: arXiv 2503.04725, theorems 5.2 and 5.4. Necessary, not sufficient.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from l2m_design.errors import BadInput
from l2m_design.laws import ELEMENT_BYTES, STATE_KINDS, PowerLaw, StateLaw
from l2m_design.settings import Values, nearest, read_mapping

REACH_LIMIT = 2**24
EFFECTIVE_NATS = 0.06

End = Literal["upper", "value", "lower"]
Dtype = Literal["float32", "bfloat16", "float16", "float8"]
Nats = Annotated[float, Field(gt=0.0)]


class Terms(Values):
    """What the condition is judged by, beside the law of the data.

    nats_per_element: eta, what one state element holds, for kinds of layers without one of their own in nats_by_kind
    (those of laws.STATE_KINDS), which `l2m calibrate` measures.
    """

    length: Annotated[int, Field(ge=4, le=REACH_LIMIT)] = 65536
    shortest: Annotated[int, Field(ge=4)] = 256
    end: End = "upper"
    nats_per_element: Nats = EFFECTIVE_NATS
    nats_by_kind: dict[str, Nats] = Field(default_factory=dict)
    dtype: Dtype = "bfloat16"

    @field_validator("nats_by_kind")
    @classmethod
    def _known_kinds(cls, given: dict[str, float]) -> dict[str, float]:
        for kind in given:
            if message := unknown_kind(kind):
                raise ValueError(message)
        return given

    @model_serializer(mode="wrap")
    def _without_an_empty_mapping(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms with one eta for all stay what they were, so that studies begun with them go on."""
        plain: dict[str, Any] = handler(self)
        if not self.nats_by_kind:
            plain.pop("nats_by_kind")
        return plain


def growth_words(exponent: float, logarithmic: bool) -> str:
    """A growth in words."""
    if exponent > 0:
        return f"t^{exponent:.2f}"
    return "log t" if logarithmic else "none"


def unknown_kind(kind: str) -> str | None:
    """One sentence about a kind that no layer's state has, naming the nearest that one has."""
    if kind in STATE_KINDS:
        return None
    close = nearest(kind, STATE_KINDS)
    return f"unknown kind '{kind}'; " + (f"did you mean '{close}'?" if close else f"allowed: {', '.join(STATE_KINDS)}")


def read_nats_by_kind(path: str | Path) -> dict[str, float]:
    """Nats per element by kind from the file that `l2m calibrate` wrote. Raises BadInput when it is none."""
    data = read_mapping(path)
    if set(data) != {"nats_by_kind"}:
        raise BadInput(f"{path}: not a file of `l2m calibrate`: nats_by_kind, and nothing else, is expected in it")
    return Terms.parse(data, str(path)).nats_by_kind


@dataclass(frozen=True)
class Demand:
    """What data ask of a state: I(L/2; L) by context length, read at one end of its interval.

    law: nats by n = L/2, or none when only beta is known (then the level cannot be judged).
    """

    law: PowerLaw
    terms: Terms
    has_level: bool = True

    @property
    def exponent(self) -> float:
        """The asked growth exponent: the chosen end of beta's interval, 1 at most (I(n;n) cannot outgrow n)."""
        beta = self.law.beta
        return min(1.0, {"upper": beta.high, "value": beta.value, "lower": beta.low}[self.terms.end])

    @property
    def growth(self) -> str:
        """The required growth in words: t^0.71, log t, or none."""
        return growth_words(self.exponent, self.law.form == "logarithm")

    def grows(self, state: StateLaw) -> bool:
        """Does the state grow at least as fast as required? A logarithm is less than any power, more than nothing."""
        if self.law.form == "logarithm":
            return state.exponent > 0 or state.logarithmic
        return state.exponent >= self.exponent

    def nats(self, length: int) -> float:
        """I(L/2; L) in nats at context length L, at the chosen end of its band."""
        at = self.law.at(length / 2)
        return max(0.0, {"upper": at.high, "value": at.value, "lower": at.low}[self.terms.end])

    @property
    def hard_nats(self) -> float:
        """Nats per element that no code can pass: bits per element · ln 2 (theorem 5.2). Very loose."""
        return 8 * ELEMENT_BYTES[self.terms.dtype] * math.log(2)

    def elements(self, length: int, nats_per_element: float) -> float:
        """State elements asked for at context length L."""
        return self.nats(length) / nats_per_element

    def judge(self, state: StateLaw) -> "Verdict":
        """Hold a state law against this demand."""
        slack = None
        if self.has_level:
            slack = {length: self.slack(state, length) for length in self.grid(self.terms.length)}
        return Verdict(
            growth=state.exponent,
            asked=self.exponent,
            meets_growth=self.grows(state),
            growths=(growth_words(state.exponent, state.logarithmic), self.growth),
            slack=slack,
            reach_hard=self.reach(state, self.hard_nats) if self.has_level else None,
            reach_effective=self.reach(state) if self.has_level else None,
            has_level=self.has_level,
        )

    def covers(self, state: StateLaw, longest: int, nats_per_element: float | None = None) -> bool:
        """Is the level met at every judged context length up to `longest` (yes where no level is asked)?

        nats_per_element: see slack.
        """
        if not self.has_level:
            return True
        return all(self.slack(state, length, nats_per_element) >= 0 for length in self.grid(longest))

    def slack(self, state: StateLaw, length: int, nats_per_element: float | None = None) -> float:
        """ln(what z(L/2) can hold) - ln(I(L/2; L)): negative where the state is too small.

        nats_per_element: one for all elements; without it those of the terms, by kind where they are given.
        """
        asked = self.nats(length)
        if asked <= 0:
            return math.inf
        held = self.capacity(state, max(1, length // 2), nats_per_element)
        return math.log(held) - math.log(asked) if held else -math.inf

    def capacity(self, state: StateLaw, t: int, nats_per_element: float | None = None) -> float:
        """Nats that a state can hold after t tokens, by the terms or by one number for all elements."""
        if nats_per_element is not None:
            return state.capacity(t, {}, nats_per_element)
        return state.capacity(t, self.terms.nats_by_kind, self.terms.nats_per_element)

    def grid(self, longest: int) -> list[int]:
        """Context lengths at which the level is judged: doublings from the shortest, and the longest."""
        lengths = [self.terms.shortest * 2**j for j in range(25)]
        return [length for length in lengths if length < longest] + [longest]

    def reach(self, state: StateLaw, nats_per_element: float | None = None) -> int | None:
        """Longest context covered from the shortest on, in tokens; None when no end shows up to REACH_LIMIT.

        nats_per_element: see slack.
        """
        covered = 0
        for length in self.grid(REACH_LIMIT):
            if self.slack(state, length, nats_per_element) < 0:
                return self._bisect(state, nats_per_element, covered, length)
            covered = length
        return None

    def _bisect(self, state: StateLaw, nats_per_element: float | None, covered: int, failed: int) -> int:
        if not covered:
            return 0
        while failed - covered > max(1, covered // 200):
            middle = (covered + failed) // 2
            if self.slack(state, middle, nats_per_element) < 0:
                failed = middle
            else:
                covered = middle
        return covered


@dataclass(frozen=True)
class Verdict:
    """The answer of the condition.

    growths: the state's and the required one, in words. slack: by context length, ln(held / asked elements). reach:
    tokens, or None when no end shows up to REACH_LIMIT (or when has_level is false: a demand without a prefactor cannot
    judge levels).
    """

    growth: float
    asked: float
    meets_growth: bool
    growths: tuple[str, str]
    slack: dict[int, float] | None
    reach_hard: int | None
    reach_effective: int | None
    has_level: bool = True

    @property
    def meets_level(self) -> bool:
        """Is the state large enough at every judged length, under the nats per element of the terms?"""
        return self.slack is None or min(self.slack.values()) >= 0

    @property
    def met(self) -> bool:
        """Both parts hold."""
        return self.meets_growth and self.meets_level

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        finite = None if self.slack is None else {str(k): min(v, 1e9) for k, v in self.slack.items()}
        return {
            "growth_exponent": self.growth,
            "asked_exponent": self.asked,
            "growth": self.growths[0],
            "required_growth": self.growths[1],
            "meets_growth": self.meets_growth,
            "meets_level": self.meets_level if self.has_level else None,
            "level_slack": finite,
            "reach_tokens": {"hard": self.reach_hard, "effective": self.reach_effective},
        }
