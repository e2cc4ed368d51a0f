"""The L²M condition: may this state law keep up with what these data ask for?

Two questions, two answers. Growth: is the state's exact exponent at least beta (default: the upper end of
beta's interval)? Level: is dim z(L/2) at least I(L/2; L) / eta at every length up to the target, eta being the
capacity of a state element in nats, measured for each kind of layer (`l2m calibrate`) on a known source, or given? The
condition fixes a rate; the constant eta it cannot give. So whether a state is large enough has three answers: yes where
the lowest capacity suffices, no where the highest does not, and between them it is not decided by what is known.
Source: arXiv 2503.04725, theorems 5.2 and 5.4. Necessary, not sufficient.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from l2m_design.estimates import Estimate
from l2m_design.laws import PowerLaw, StateLaw, growth_words
from l2m_design.settings import Json
from l2m_design.terms import REACH_LIMIT, Terms

Answer = Literal["yes", "no", "not decided"]


@dataclass(frozen=True)
class Demand:
    """What data ask of a state: I(L/2; L) by context length, read at one end of its interval.

    law: nats by n = L/2, or none when only beta is known (then the level cannot be judged).

    Examples:
        >>> from l2m_design.laws import StateTerm, Tokens
        >>> demand = Demand(PowerLaw(prefactor=2.27, exponent=0.76), Terms(length=131072))
        >>> verdict = demand.judge(StateLaw((StateTerm(1024, Tokens(cap=4096), kind="window"),)))
        >>> verdict.meets_growth, demand.growth
        (False, 't^0.76')
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
        """Nats per element that no code can pass: bits of the widest element · ln 2 (theorem 5.2). Very loose."""
        return self.terms.dtypes.widest * math.log(2)

    def elements(self, length: int, nats_per_element: float) -> float:
        """State elements asked for at context length L."""
        return self.nats(length) / nats_per_element

    def judge(self, state: StateLaw) -> "Verdict":
        """Hold a state law against this demand."""
        slack = room = None
        if self.has_level:
            slack = {length: self.slack(state, length) for length in self.grid(self.terms.length)}
            room = {length: self.room(state, length) for length in slack}
        return Verdict(
            growth=state.exponent,
            asked=self.exponent,
            meets_growth=self.grows(state),
            growths=(state.growth, self.growth),
            slack=slack,
            room=room,
            reach_hard=self.reach(state, self.hard_nats) if self.has_level else None,
            reach_effective=self.reach(state) if self.has_level else None,
            has_level=self.has_level,
            enough=self.enough(state),
        )

    def enough(self, state: StateLaw) -> "Enough | None":
        """Is the state large enough at every judged length? None where the demand has no amount.

        yes: at the judged end of the amount even the lowest capacity suffices; no: somewhere not even the highest does,
        at the amount's lower end. One capacity for all decides by itself, at the judged end.
        """
        if not self.has_level:
            return None
        lengths = self.grid(self.terms.length)
        least = {length: _ratio(self.held(state, max(1, length // 2))[0], self.nats(length)) for length in lengths}
        most = {length: self.room(state, length) for length in lengths}
        at = min(most, key=lambda length: (most[length], -length))
        if most[at] < 0:
            return self._enough("no", state, at)
        at = min(least, key=lambda length: (least[length], -length))
        return self._enough("yes" if least[at] >= 0 else "not decided", state, at)

    def _enough(self, answer: Answer, state: StateLaw, at: int) -> "Enough":
        return Enough(answer, at, self.held(state, max(1, at // 2)), self.law.at(at / 2), self._ranged(state))

    def _ranged(self, state: StateLaw) -> bool:
        """Is the capacity of some of its elements an interval?"""
        ends = (self.terms.capacity(term.kind) for term in state.terms)
        return any(low < high for low, _, high in ends)

    def room(self, state: StateLaw, length: int) -> float:
        """ln(held / required) where both are taken for the best: below 0 the state is too small whatever is known."""
        return _ratio(self.held(state, max(1, length // 2))[2], self.least_nats(state, length))

    def least_nats(self, state: StateLaw, length: int) -> float:
        """I(L/2; L) in nats, at the lower end of its band where the state's capacity is an interval too: the best."""
        required = self.nats(length)
        return min(required, max(0.0, self.law.at(length / 2).low)) if self._ranged(state) else required

    def held(self, state: StateLaw, t: int) -> tuple[float, float, float]:
        """Nats that the state after t tokens holds: at the lowest, the central and the highest capacity."""
        parts = [(StateLaw((term,)).elements(t), self.terms.capacity(term.kind)) for term in state.terms]
        low, value, high = (sum(count * capacity[i] for count, capacity in parts) for i in range(3))
        return low, value, high

    def covers(self, state: StateLaw, longest: int, nats_per_element: float | None = None) -> bool:
        """Is the level met at every judged context length up to `longest` (yes where no level is asked)?

        nats_per_element: see slack.
        """
        if not self.has_level:
            return True
        return all(self.slack(state, length, nats_per_element) >= 0 for length in self.grid(longest))

    def slack(self, state: StateLaw, length: int, nats_per_element: float | None = None) -> float:
        """ln(what z(L/2) can hold) - ln(I(L/2; L)): negative where the state is too small.

        nats_per_element: one for all elements; without it the central ones of the terms, by kind.
        """
        return _ratio(self.capacity(state, max(1, length // 2), nats_per_element), self.nats(length))

    def capacity(self, state: StateLaw, t: int, nats_per_element: float | None = None) -> float:
        """Nats that a state can hold after t tokens, by the terms or by one number for all elements."""
        if nats_per_element is not None:
            return state.elements(t) * nats_per_element
        return self.held(state, t)[1]

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


def _ratio(held: float, required: float) -> float:
    """ln(held / required): infinite where nothing is required, minus infinity where nothing is held."""
    if required <= 0:
        return math.inf
    return math.log(held) - math.log(required) if held else -math.inf


@dataclass(frozen=True)
class Enough:
    """Has it enough state, and where that is decided: at the context length where it is nearest to failing, or fails
    most. held: nats at the lowest, central and highest capacity; required: the amount there. ranged: is the capacity an
    interval?
    """

    answer: Answer
    length: int
    held: tuple[float, float, float]
    required: Estimate
    ranged: bool

    def plain(self) -> Json:
        """JSON-ready."""
        return {
            "decided_at": self.length,
            "capacity_nats": dict(zip(("low", "value", "high"), self.held, strict=True)),
            "required_nats": self.required.plain(),
        }


@dataclass(frozen=True)
class Verdict:
    """The answer of the condition.

    growths: the state's and the required one, in words. slack: by context length, ln(held / required) at the central
    capacity; room: at the best that is known of both. reach: at the central capacity, tokens, or None when no end shows
    up to REACH_LIMIT (or when has_level is false: a demand without a prefactor cannot judge levels).
    """

    growth: float
    asked: float
    meets_growth: bool
    growths: tuple[str, str]
    slack: dict[int, float] | None
    room: dict[int, float] | None
    reach_hard: int | None
    reach_effective: int | None
    has_level: bool = True
    enough: Enough | None = None

    @property
    def meets_level(self) -> bool | None:
        """Is the state large enough at every judged length? None where that is not decided, or no amount is known."""
        return None if self.enough is None or self.enough.answer == "not decided" else self.enough.answer == "yes"

    @property
    def met(self) -> bool:
        """Growth holds, and nothing that is known says that the state is too small."""
        return self.meets_growth and self.meets_level is not False

    @property
    def judgement(self) -> "Judgement":
        """What is kept of the answer."""
        return Judgement(
            enough_state=self.enough.answer if self.enough else None,
            growth_exponent=self.growth,
            asked_exponent=self.asked,
            growth=self.growths[0],
            required_growth=self.growths[1],
            meets_growth=self.meets_growth,
            meets_level=self.meets_level,
            level_slack=None if self.slack is None else {at: min(slack, 1e9) for at, slack in self.slack.items()},
            reach_tokens=Reach(self.reach_hard, self.reach_effective),
        )

    def plain(self) -> Json:
        """JSON-ready: the judgement."""
        return self.judgement.plain()


@dataclass(frozen=True)
class Reach:
    """Longest context covered, in tokens, by the hard bound of an element and at its central capacity; None where no
    end shows up to REACH_LIMIT, or where no level is judged.
    """

    hard: int | None
    effective: int | None


@dataclass(frozen=True)
class Judgement:
    """A verdict as files keep it, with the keys of `l2m check --json`.

    growth_exponent, asked_exponent: the state's and the required one; growth, required_growth: the same in words.
    level_slack: by context length, ln(held / required), 1e9 at most; None where no level is judged.
    """

    enough_state: Answer | None
    growth_exponent: float
    asked_exponent: float
    growth: str
    required_growth: str
    meets_growth: bool
    meets_level: bool | None
    level_slack: dict[int, float] | None
    reach_tokens: Reach

    def plain(self) -> Json:
        """JSON-ready."""
        slack = self.level_slack
        return asdict(self) | {"level_slack": None if slack is None else {str(at): slack[at] for at in slack}}

    @classmethod
    def of_plain(cls, data: Mapping[str, Any]) -> "Judgement":
        """The judgement that `plain` wrote, this version's or an earlier one's, which told no growth in words."""
        slack, reach = data.get("level_slack"), data.get("reach_tokens") or {}
        return cls(
            data.get("enough_state"),
            data["growth_exponent"],
            data["asked_exponent"],
            data.get("growth") or f"t^{data['growth_exponent']:.2f}",
            data.get("required_growth") or f"t^{data['asked_exponent']:.2f}",
            data["meets_growth"],
            data.get("meets_level"),
            None if slack is None else {int(at): value for at, value in slack.items()},
            Reach(reach.get("hard"), reach.get("effective")),
        )
