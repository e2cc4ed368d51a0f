"""The L²M condition: can a model with this state law keep up with data of this information law?

It has two parts. Growth condition: the exact exponent of the state is at least beta (by default the upper end of the
interval of beta). Capacity condition: the state after half of the context, dim z(L/2), is at least I(L/2; L) / eta at
every context length L up to the target, where eta is the capacity per state element in nats, measured for each mixer
type (`l2m calibrate`) or given. The theorem fixes the rate but not eta, so the capacity condition has three answers:
yes if the lowest capacity suffices, no if the highest does not, else not decided. Source: arXiv 2503.04725, theorems
5.2 and 5.4. The condition is necessary, not sufficient.
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
    """The requirement: I(L/2; L) by context length, read at one end of its interval.

    law: nats by n = L/2. terms: how the requirement is judged. has_level: False if only beta is known; then the
    capacity condition is not judged.

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
        """The required growth exponent: the chosen end of the interval of beta, at most 1 (I(n;n) cannot outgrow n)."""
        beta = self.law.beta
        return min(1.0, {"upper": beta.high, "value": beta.value, "lower": beta.low}[self.terms.end])

    @property
    def growth(self) -> str:
        """The required growth in words: t^0.71, log t, or none."""
        return growth_words(self.exponent, self.law.form == "logarithm")

    def grows(self, state: StateLaw) -> bool:
        """Return whether the state grows at least as fast as required. log t is slower than any power and faster than
        no growth.
        """
        if self.law.form == "logarithm":
            return state.exponent > 0 or state.logarithmic
        return state.exponent >= self.exponent

    def nats(self, length: int) -> float:
        """Return I(L/2; L) in nats at context length L, at the chosen end of its interval."""
        at = self.law.at(length / 2)
        return max(0.0, {"upper": at.high, "value": at.value, "lower": at.low}[self.terms.end])

    @property
    def hard_nats(self) -> float:
        """Upper bound of the nats per element: bits of the widest element · ln 2 (theorem 5.2). Very loose."""
        return self.terms.dtypes.widest * math.log(2)

    def elements(self, length: int, nats_per_element: float) -> float:
        """Return the required state elements at context length L."""
        return self.nats(length) / nats_per_element

    def judge(self, state: StateLaw) -> "Verdict":
        """Compare a state law with this requirement."""
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
        """Return whether the state is large enough at every judged length; None if the required amount is not known.

        yes: at the chosen end of the required amount, the lowest capacity suffices at all lengths. no: at some length
        the highest capacity does not suffice for the lower end of the amount. A single given capacity always decides,
        at the chosen end.
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
        """Return ln(capacity / required) at the most favourable ends; below 0 the state is certainly too small."""
        return _ratio(self.held(state, max(1, length // 2))[2], self.least_nats(state, length))

    def least_nats(self, state: StateLaw, length: int) -> float:
        """Return I(L/2; L) in nats, at the lower end of its interval if the capacity is an interval too."""
        required = self.nats(length)
        return min(required, max(0.0, self.law.at(length / 2).low)) if self._ranged(state) else required

    def held(self, state: StateLaw, t: int) -> tuple[float, float, float]:
        """Return the nats that the state can hold after t tokens, at the lowest, central and highest capacity."""
        parts = [(StateLaw((term,)).elements(t), self.terms.capacity(term.kind)) for term in state.terms]
        low, value, high = (sum(count * capacity[i] for count, capacity in parts) for i in range(3))
        return low, value, high

    def covers(self, state: StateLaw, longest: int, nats_per_element: float | None = None) -> bool:
        """Return whether the capacity condition is met at every judged length up to `longest` (True if no amount is
        known).

        nats_per_element: see slack.
        """
        if not self.has_level:
            return True
        return all(self.slack(state, length, nats_per_element) >= 0 for length in self.grid(longest))

    def slack(self, state: StateLaw, length: int, nats_per_element: float | None = None) -> float:
        """Return ln(capacity of z(L/2)) - ln(I(L/2; L)); negative if the state is too small.

        nats_per_element: one capacity for all elements; by default the central ones of the terms, by mixer type.
        """
        return _ratio(self.capacity(state, max(1, length // 2), nats_per_element), self.nats(length))

    def capacity(self, state: StateLaw, t: int, nats_per_element: float | None = None) -> float:
        """Return the nats that a state can hold after t tokens, by the terms or by one capacity for all elements."""
        if nats_per_element is not None:
            return state.elements(t) * nats_per_element
        return self.held(state, t)[1]

    def grid(self, longest: int) -> list[int]:
        """Return the context lengths at which capacity is judged: doublings of the shortest, and the longest."""
        lengths = [self.terms.shortest * 2**j for j in range(25)]
        return [length for length in lengths if length < longest] + [longest]

    def reach(self, state: StateLaw, nats_per_element: float | None = None) -> int | None:
        """Return the longest context covered, in tokens; None if it is longer than REACH_LIMIT.

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
    """The answer of the capacity condition.

    answer: yes, no or not decided. length: context length that decides, where the margin is smallest. capacity: nats at
    the lowest, central and highest capacity. required: the required nats there. ranged: True if the capacity is an
    interval.
    """

    answer: Answer
    length: int
    capacity: tuple[float, float, float]
    required: Estimate
    ranged: bool

    def plain(self) -> Json:
        """Return the fields as JSON."""
        return {
            "decided_at": self.length,
            "capacity_nats": dict(zip(("low", "value", "high"), self.capacity, strict=True)),
            "required_nats": self.required.plain(),
        }


@dataclass(frozen=True)
class Verdict:
    """The result of comparing a state law with a requirement.

    growth, asked: exponents of the state and of the requirement. growths: both in words. slack: ln(capacity / required)
    by context length, at the central capacity. room: the same at the most favourable ends. reach_hard, reach_effective:
    longest context covered in tokens, by the hard bound and at the central capacity; None if longer than REACH_LIMIT,
    or if no amount is known. has_level: is an amount known? enough: the answer of the capacity condition.
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
        """Whether the capacity condition is met; None if not decided, or if no amount is known."""
        return None if self.enough is None or self.enough.answer == "not decided" else self.enough.answer == "yes"

    @property
    def met(self) -> bool:
        """True if the growth condition is met and the capacity condition is not violated."""
        return self.meets_growth and self.meets_level is not False

    @property
    def judgement(self) -> "Judgement":
        """The result as files store it."""
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
        """Return the judgement as JSON."""
        return self.judgement.plain()


@dataclass(frozen=True)
class Reach:
    """Longest context covered, in tokens, by the hard bound and at the central capacity.

    None if it is longer than REACH_LIMIT, or if no amount is known.
    """

    hard: int | None
    effective: int | None


@dataclass(frozen=True)
class Judgement:
    """A verdict as files store it, with the keys of `l2m check --json`.

    growth_exponent, asked_exponent: exponents of the state and of the requirement. growth, required_growth: the same in
    words. level_slack: ln(capacity / required) by context length, at most 1e9; None if no amount is known.
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
        """Return the fields as JSON."""
        slack = self.level_slack
        return asdict(self) | {"level_slack": None if slack is None else {str(at): slack[at] for at in slack}}

    @classmethod
    def of_plain(cls, data: Mapping[str, Any]) -> "Judgement":
        """Return the judgement that `plain` wrote, in this or an earlier version."""
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
