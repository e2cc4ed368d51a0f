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
    unit: what a row is: "documents", or "windows" where there were too few documents to resample.
    """

    lengths: NDArray[np.int64]
    nats: Floats
    estimator: str
    unit: str = "documents"

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


def curve_of_windows(lengths: NDArray[np.int64], nats: Floats, document: NDArray[np.int64], estimator: str) -> Curve:
    """The curve of nats [windows, lengths], averaged by document [windows].

    With fewer than FEWEST_DOCUMENTS documents the windows themselves are the rows: resampling two or three
    documents says nothing, and the interval is then one for these documents, not for their kind.
    """
    _, which = np.unique(document, return_inverse=True)
    counts = np.bincount(which)
    if len(counts) < FEWEST_DOCUMENTS:
        return Curve(lengths, nats, estimator, unit="windows")
    sums = np.zeros((len(counts), nats.shape[1]))
    np.add.at(sums, which, nats)
    return Curve(lengths, sums / counts[:, None], estimator)
