"""Descriptor: settings, space, demand and corpus of a study, as one value."""

from dataclasses import dataclass
from typing import Any

from l2m_design.condition import Demand
from l2m_design.laws import PowerLaw
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.space import Space
from l2m_design.search.trials.candidates import Candidates
from l2m_design.settings import Json
from l2m_design.terms import Terms


def identity_of(settings: StudySettings, space: Space, corpus: str) -> Json:
    """What makes two studies the same, before the demand is known. corpus: its fingerprint."""
    return {"study": settings.identity, "space": space.plain(), "corpus": corpus}


@dataclass(frozen=True)
class Descriptor:
    """A study as its database keeps it: everything that decides a trial."""

    settings: StudySettings
    space: Space
    demand: Demand
    corpus: dict[str, Any]  # name, fingerprint, vocabulary, copies

    @property
    def identity(self) -> Json:
        """What makes two studies the same."""
        own = identity_of(self.settings, self.space, self.corpus["fingerprint"])
        return own | {"beta": round(self.demand.exponent, 6)}

    def plain(self) -> Json:
        """JSON-ready."""
        return {
            "settings": self.settings.public(),
            "space": self.space.plain(),
            "demand": {
                "law": self.demand.law.plain(),
                "terms": self.demand.terms.plain(),
                "has_level": self.demand.has_level,
            },
            "corpus": self.corpus,
        }

    @classmethod
    def of_plain(cls, data: dict[str, Any]) -> "Descriptor":
        """The descriptor that `plain` wrote."""
        demand = data["demand"]
        law = PowerLaw.of_plain(demand["law"])
        return cls(
            StudySettings.parse(data["settings"], "study"),
            Space.parse(data["space"], "space"),
            Demand(law, Terms.parse(demand["terms"], "condition"), demand["has_level"]),
            data["corpus"],
        )

    @property
    def resolved(self) -> Space:
        """The space with the demanded exponent in its options."""
        return self.space.resolved(self.demand.exponent)

    @property
    def candidates(self) -> Candidates:
        """What is drawn and judged."""
        return Candidates(self.settings, self.resolved, self.demand, self.corpus["vocabulary"])

    @property
    def directions(self) -> int:
        """Numbers that Optuna makes small: the penalised loss, or loss, state and latency."""
        search = self.settings.search
        return 1 if search.mode == "penalised" else 2 + search.latency
