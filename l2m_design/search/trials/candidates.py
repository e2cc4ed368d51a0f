"""Candidates: what an asked trial draws, the condition's verdict on it, and whether it may be trained."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand, Verdict
from l2m_design.errors import BadInput
from l2m_design.search.record import Record, meets
from l2m_design.search.settings import SearchSettings, StudySettings
from l2m_design.search.space.known import largest_picks
from l2m_design.search.space.layout import Picks
from l2m_design.search.space.space import Space

RATE = "rate"
TRAINING_BYTES = 16  # a parameter's weight, gradient and two moments in float32
GIB = 2**30


@dataclass(frozen=True)
class Candidate:
    """An architecture with its verdict; misfit: why no width suits it, or the context does not, if so."""

    architecture: Architecture
    verdict: Verdict
    rate: float
    misfit: str | None

    @property
    def key(self) -> tuple[str, float]:
        """What tells one candidate from another: architecture and learning rate."""
        return self.architecture.fingerprint, self.rate


def objectives(search: SearchSettings, record: Record, late_loss: float) -> list[float]:
    """What Optuna is to make small, of a candidate with this late loss: late loss + price · log2(state bytes at the
    target); or late loss, log2 of those bytes and, where measured, milliseconds of a decoding step.
    """
    size = math.log2(max(1, record.state_bytes))
    if search.mode == "penalised":
        return [late_loss + search.price * size]
    latency = record.result["decode_ms"] if search.latency and record.result else None
    return [late_loss, size] + ([latency or 0.0] if search.latency else [])


class Candidates:
    """Draws from a resolved space and holds what it drew to the demand."""

    def __init__(self, settings: StudySettings, space: Space, demand: Demand, vocabulary: int) -> None:
        self._settings, self._space, self._demand, self._vocabulary = settings, space, demand, vocabulary

    @property
    def questions(self) -> dict[str, list[Any]]:
        """Every question with its options: the space's, and the learning rate where it is searched."""
        found = dict(self._space.choice_names())
        rates = self._settings.search.rates
        return found | ({RATE: list(rates)} if len(rates) > 1 else {})

    def drawn(self, pick: Callable[[str, list[Any]], Any], given: Architecture | None = None) -> Candidate:
        """The candidate of these picks; given: its architecture, where the space's questions cannot draw it."""
        rates = self._settings.search.rates
        rate = float(pick(RATE, list(rates))) if len(rates) > 1 else rates[0]
        misfit = None
        try:
            architecture = given or self._space.draw(pick, self._vocabulary)
        except BadInput as error:
            misfit = str(error)
            architecture = self._space.least(pick, self._vocabulary)
        misfit = misfit or architecture.too_short(self._settings.recipe.length)
        return Candidate(architecture, self._demand.judge(architecture.state), rate, misfit)

    def again(self, record: Record) -> Candidate:
        """The candidate of a trial that ended."""
        drawing = record.drawing
        misfit = record.reason if record.misfits else None
        return Candidate(drawing, self._demand.judge(drawing.state), record.rate, misfit)

    def largest(self) -> Iterator[Picks]:
        """Picks of the most state, complete with a learning rate."""
        rates = self._settings.search.rates
        rated: Picks = {RATE: rates[0]} if len(rates) > 1 else {}
        return (picks | rated for picks in largest_picks(self._space))

    def feasible(self, picks: Picks) -> bool:
        """May these picks be trained? Nothing is built."""
        if not self._space.offers(picks):
            return False
        found = self.drawn(lambda name, options: picks[name])
        fits = not found.misfit and self.fits_memory(found.architecture)
        return fits and meets(found.verdict, self._settings.search.enforce)

    def record(self, number: int, found: Candidate, params: Picks, design: str | None) -> Record:
        """A trial's record before anything was trained."""
        architecture, terms = found.architecture, self._demand.terms
        fits = self.fits_memory(architecture)
        return Record(
            number=number,
            state="failed",
            architecture=architecture.plain(),
            picture=architecture.picture,
            fingerprint=architecture.fingerprint,
            parameters=architecture.parameters,
            state_bytes=architecture.state.bytes(terms.length, terms.dtypes),
            verdict=found.verdict.plain(),
            feasible=not found.misfit and fits and meets(found.verdict, self._settings.search.enforce),
            too_large=not fits,
            params=params,
            design=design,
            rate=found.rate,
        )

    def constraints(self, found: Candidate) -> dict[str, float]:
        """Constraints by name, feasible where at most 0; the same names for every candidate of a study."""
        enforced = self._settings.search.enforce
        named = {"parameters": 1.0 if found.misfit else self._space.misses(found.architecture) - self._space.tolerance}
        if "growth" in enforced:
            lacks = found.verdict.asked - found.verdict.growth
            named["l2m_growth"] = lacks if found.verdict.meets_growth or lacks > 0 else 1.0
        if "level" in enforced and found.verdict.room is not None:
            named |= {f"l2m_level@{length}": -room for length, room in found.verdict.room.items()}
        return named

    def memory(self, taken: float) -> float:
        """The memory constraint of a run that took so many bytes; without a limit every run is feasible."""
        limit = self._settings.search.memory_gib
        return taken / (limit * GIB) - 1 if limit else -1.0

    def fits_memory(self, architecture: Architecture) -> bool:
        """May weights, gradients and moments take what they need?"""
        return self.memory(TRAINING_BYTES * architecture.parameters) <= 0

    def rejection(self, found: Candidate) -> str:
        """Why an architecture is infeasible, in words."""
        if found.misfit:
            return found.misfit
        verdict, enforced = found.verdict, self._settings.search.enforce
        if not self.fits_memory(found.architecture):
            needs = TRAINING_BYTES * found.architecture.parameters / GIB
            limit = self._settings.search.memory_gib
            return f"its training needs at least {needs:.2g} GiB, but search.memory_gib is {limit:g}"
        if not verdict.meets_growth and "growth" in enforced:
            return f"its state grows as {verdict.growths[0]}, but {verdict.growths[1]} is required"
        assert verdict.room is not None
        length, room = min(verdict.room.items(), key=lambda item: item[1])
        return (
            f"at {length} tokens its state is {math.exp(-room):.2g} times too small, even at the highest capacity per "
            "element"
        )
