"""Estimates: a value with its interval, and a curve of nats by length, one row a document."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FEWEST_DOCUMENTS = 10


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
    unit: what a row is: "documents", or "windows" where there were too few documents to resample. control: further
    rows, of more documents, whose mean is added: the expectation of a control variate that was taken off `nats`.
    """

    lengths: NDArray[np.int64]
    nats: Floats
    estimator: str
    unit: str = "documents"
    control: Floats | None = None

    def mean(self) -> Floats:
        """[lengths] nats: the mean over the documents long enough for each length."""
        mean: Floats = np.nanmean(self.nats, axis=0)
        return mean if self.control is None else mean + np.nanmean(self.control, axis=0)

    def resampled(self, replicates: int, rng: np.random.Generator) -> Floats:
        """[replicates, lengths] nats: means of whole documents drawn with replacement (cluster bootstrap).

        A replicate that drew no document of some length keeps NaN there.
        """
        means = _resampled(self.nats, replicates, rng)
        return means if self.control is None else means + _resampled(self.control, replicates, rng)

    def interval(self, replicates: int, level: float, rng: np.random.Generator) -> list[Estimate]:
        """One Estimate of the mean per length."""
        draws = self.resampled(replicates, rng)
        return [Estimate.of_draws(m, draws[:, j], level) for j, m in enumerate(self.mean())]


def _resampled(rows: Floats, replicates: int, rng: np.random.Generator) -> Floats:
    """[replicates, lengths] means of rows drawn with replacement."""
    counts = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=replicates)
    present = np.isfinite(rows)
    sums = counts @ np.where(present, rows, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = sums / (counts @ present)
    return means


def jackknife_rows(whole: Floats, without: Floats) -> Floats:
    """[groups, lengths] rows whose mean is `whole` [lengths] and whose spread is its jackknife error.

    without: [groups, lengths] the same estimate with one group of documents left out: whole + (G - 1)(mean - without).
    """
    groups = len(without)
    return whole + (groups - 1) * (without.mean(axis=0) - without)
