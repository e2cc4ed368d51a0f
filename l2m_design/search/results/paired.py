"""Paired differences: what one model loses less what another loses, on the same documents and with the same seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from l2m_design.estimates import Estimate

Losses = Mapping[int, Sequence[float]]  # by seed: losses by document, nats per token


@dataclass(frozen=True, kw_only=True)
class Gap(Estimate):
    """A difference with its interval, its standard error, and the seeds that it is paired over."""

    standard_error: float
    seeds: int


@dataclass(frozen=True)
class Difference:
    """A mean difference in nats per token, paired over documents and seeds.

    from_documents, from_seeds: variances of the mean, in squared nats, by what varies (0 where there is but one).
    """

    value: float
    from_documents: float
    from_seeds: float
    seeds: int
    documents: int

    @property
    def error(self) -> float:
        """Standard error, nats per token; infinity where nothing varies, so that nothing is known of it."""
        if self.seeds < 2 and self.documents < 2:
            return math.inf
        return math.sqrt(self.from_documents + self.from_seeds)

    @property
    def freedom(self) -> float:
        """Student's degrees of freedom (Satterthwaite)."""
        parts = [(self.from_documents, self.documents - 1), (self.from_seeds, self.seeds - 1)]
        pooled = sum(part**2 / degrees for part, degrees in parts if degrees > 0)
        return (self.from_documents + self.from_seeds) ** 2 / pooled if pooled > 0 else 1.0

    def bound(self, confidence: float) -> float:
        """The one-sided upper bound: the difference is smaller, with this confidence."""
        return self.value + t_quantile(confidence, self.freedom) * self.error

    def p_at_most(self, delta: float) -> float:
        """Probability of a difference as small as this one, or smaller, were the true one delta."""
        if self.error == 0:
            return 0.0 if self.value <= delta else 1.0
        return t_share((self.value - delta) / self.error, self.freedom) if math.isfinite(self.error) else 1.0

    def estimate(self, level: float = 0.95) -> Estimate:
        """With its two-sided interval."""
        half = t_quantile(0.5 + level / 2, self.freedom) * self.error if self.error else 0.0
        return Estimate(self.value, self.value - half, self.value + half, level)

    def gap(self, level: float = 0.95) -> Gap | None:
        """As it is reported; none where nothing is known of the error."""
        if not math.isfinite(self.error):
            return None
        found = self.estimate(level)
        return Gap(found.value, found.low, found.high, level, standard_error=self.error, seeds=self.seeds)


def gap(ours: Losses, theirs: Losses) -> Gap | None:
    """Ours - theirs as it is reported; none where they share no seed, or nothing is known of the error."""
    found = difference(ours, theirs)
    return found.gap() if found else None


def difference(ours: Losses, theirs: Losses) -> Difference | None:
    """Ours - theirs over the same documents and seeds; with one seed only documents can vary.

    None where they have no seed in common.
    """
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    table = np.array([np.subtract(ours[seed], theirs[seed]) for seed in shared], dtype=float)
    seeds, documents = table.shape
    by_document, by_seed = table.mean(axis=0), table.mean(axis=1)
    return Difference(
        float(table.mean()),
        float(by_document.var(ddof=1)) / documents if documents > 1 else 0.0,
        float(by_seed.var(ddof=1)) / seeds if seeds > 1 else 0.0,
        seeds,
        documents,
    )


def less(ours: Losses, theirs: Losses) -> dict[int, list[float]]:
    """By shared seed, ours - theirs document by document."""
    return {seed: np.subtract(ours[seed], theirs[seed]).tolist() for seed in sorted(ours.keys() & theirs.keys())}


def t_quantile(share: float, freedom: float) -> float:
    """What Student's t stays below with this probability."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def t_share(value: float, freedom: float) -> float:
    """The probability that Student's t stays below a value."""
    from scipy.special import stdtr

    return float(stdtr(freedom, value))
