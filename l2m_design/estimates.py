"""Estimates: a value with its interval, and a curve of nats by length, one row a document."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with the `level` interval [low, high]; value, low and high share a unit."""

    value: float
    low: float
    high: float
    level: float = 0.95

    @classmethod
    def of_draws(cls, value: float, draws: Floats, level: float) -> "Estimate":
        """`value` with the percentile interval of its bootstrap draws [replicates]."""
        tail = 100 * (1 - level) / 2
        low, high = np.nanpercentile(draws, [tail, 100 - tail])
        return cls(float(value), float(min(low, value)), float(max(high, value)), level)

    @classmethod
    def exact(cls, value: float) -> "Estimate":
        """A given number: an interval of no width."""
        return cls(value, value, value)

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.value:.3g}"
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def plain(self) -> dict[str, float]:
        """JSON-ready: value, low, high, level."""
        return {"value": self.value, "low": self.low, "high": self.high, "level": self.level}


@dataclass(frozen=True)
class Curve:
    """Nats by length, measured document by document.

    lengths: [lengths] tokens, n of I(n;n). nats: [documents, lengths], NaN where a document is too short.
    """

    lengths: NDArray[np.int64]
    nats: Floats
    estimator: str

    def mean(self) -> Floats:
        """[lengths] nats: the mean over the documents long enough for each length."""
        return np.nanmean(self.nats, axis=0)

    def resampled(self, replicates: int, rng: np.random.Generator) -> Floats:
        """[replicates, lengths] nats: means of whole documents drawn with replacement (cluster bootstrap).

        A replicate that drew no document of some length keeps NaN there.
        """
        documents = len(self.nats)
        counts = rng.multinomial(documents, np.full(documents, 1 / documents), size=replicates)
        present = np.isfinite(self.nats)
        sums = counts @ np.where(present, self.nats, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / (counts @ present)

    def interval(self, replicates: int, level: float, rng: np.random.Generator) -> list[Estimate]:
        """One Estimate of the mean per length."""
        draws = self.resampled(replicates, rng)
        return [Estimate.of_draws(m, draws[:, j], level) for j, m in enumerate(self.mean())]
