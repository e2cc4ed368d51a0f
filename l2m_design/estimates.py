"""Estimates: a value with its interval, and a curve of nats by length with one row per document."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FEWEST_DOCUMENTS = 10
NORMAL = 1.959964  # the normal quantile that 2.5% lie above


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval [low, high]; all three have the same unit. level: confidence level.

    Examples:
        >>> print(Estimate(0.702, 0.586, 0.812))
        0.702 [0.586, 0.812]
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    @classmethod
    def of_draws(cls, value: float, draws: Floats, level: float) -> "Estimate":
        """Return `value` with the percentile interval of bootstrap draws [replicates]."""
        tail = 100 * (1 - level) / 2
        low, high = np.nanpercentile(draws, [tail, 100 - tail])
        return cls(float(value), float(min(low, value)), float(max(high, value)), level)

    @classmethod
    def exact(cls, value: float) -> "Estimate":
        """Return a given number, with an interval of width 0."""
        return cls(value, value, value)

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.value:.3g}"
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def plain(self) -> dict[str, float]:
        """Return value, low, high and level, as JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "level": self.level}


@dataclass(frozen=True)
class Covariate:
    """A control variate Z in nats.

    here: [rows, lengths], in the rows of the curve. there: [more rows, lengths], the same quantity in many more
    documents, whose mean estimates its expectation.
    """

    here: Floats
    there: Floats


@dataclass(frozen=True)
class Curve:
    """Nats by length, measured document by document.

    lengths: [lengths] tokens, n of I(n;n). nats: [documents, lengths], NaN where a document is too short. estimator:
    name of the estimator. unit: what a row is: a document, or a part of one if there are too few. covariate: control
    variate; at each length nats - slope (here - mean there) is used, with the slope by least squares, computed again in
    each replicate.

    Examples:
        >>> curve = Curve(np.array([8, 16]), np.array([[1.0, 2.0], [3.0, np.nan]]), "profile")
        >>> curve.mean().tolist()
        [2.0, 2.0]
    """

    lengths: NDArray[np.int64]
    nats: Floats
    estimator: str
    unit: str = "documents"
    covariate: Covariate | None = None

    def mean(self) -> Floats:
        """Return [lengths] nats: the mean over the documents that are long enough for each length."""
        ones = np.ones((1, len(self.nats)))
        if self.covariate is None:
            return _means(self.nats, ones)[0]
        return self._regressed(ones, np.ones((1, len(self.covariate.there))))[0]

    def resampled(self, replicates: int, rng: np.random.Generator) -> Floats:
        """Return [replicates, lengths] nats: means over documents sampled with replacement (cluster bootstrap).

        For few rows the spread is widened to that of Student's t with m - 1 degrees of freedom and the unbiased
        variance. A replicate without a document of some length is NaN there.
        """
        counts = _counts(len(self.nats), replicates, rng)
        if self.covariate is None:
            means = _means(self.nats, counts)
        else:
            means = self._regressed(counts, _counts(len(self.covariate.there), replicates, rng))
        rows = len(self.nats) - (self.covariate is not None)
        if rows < 3:
            return means
        from scipy.special import stdtrit

        wider = np.sqrt(rows / (rows - 1)) * stdtrit(rows - 1, 0.975) / NORMAL
        return self.mean() + wider * (means - self.mean())

    def interval(self, replicates: int, level: float, rng: np.random.Generator) -> list[Estimate]:
        """Return an Estimate of the mean for each length."""
        draws = self.resampled(replicates, rng)
        return [Estimate.of_draws(m, draws[:, j], level) for j, m in enumerate(self.mean())]

    def explained(self) -> Floats | None:
        """Return [lengths] the share of the variance between rows that the covariate removes, if there is one."""
        if self.covariate is None:
            return None
        ones = np.ones((1, len(self.nats)))
        slope = self._slope(ones)[0]
        left = self.nats - slope * self.covariate.here
        freedom = (len(self.nats) - 1) / (len(self.nats) - 2)
        share: Floats = 1 - freedom * np.nanvar(left, axis=0) / np.maximum(np.nanvar(self.nats, axis=0), 1e-300)
        return share

    def _slope(self, counts: Floats) -> Floats:
        """[replicates, lengths] least squares of nats on the covariate, rows weighed by counts [replicates, rows]."""
        assert self.covariate is not None
        z = self.covariate.here
        (y1, z1), (yz, zz) = (
            (_means(left, counts), _means(right, counts)) for left, right in ((self.nats, z), (self.nats * z, z * z))
        )
        spread = zz - z1 * z1
        slope: Floats = np.where(spread > 1e-9 * np.abs(zz), (yz - y1 * z1) / np.maximum(spread, 1e-300), 0.0)
        return slope

    def _regressed(self, counts: Floats, counts_there: Floats) -> Floats:
        assert self.covariate is not None
        shift = _means(self.covariate.there, counts_there) - _means(self.covariate.here, counts)
        regressed: Floats = _means(self.nats, counts) + self._slope(counts) * shift
        return regressed


def _counts(rows: int, replicates: int, rng: np.random.Generator) -> Floats:
    """[replicates, rows] how often each row is drawn."""
    return rng.multinomial(rows, np.full(rows, 1 / rows), size=replicates).astype(np.float64)


def _means(rows: Floats, counts: Floats) -> Floats:
    """[replicates, lengths] means of rows [rows, lengths] weighed by counts [replicates, rows], NaN left out."""
    present = np.isfinite(rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = (counts @ np.where(present, rows, 0.0)) / (counts @ present)
    return means


def jackknife_rows(whole: Floats, without: Floats) -> Floats:
    """Return [groups, lengths] rows whose mean is `whole` [lengths] and whose spread gives its jackknife error.

    without: [groups, lengths] the same estimate with one group of documents left out: whole + (G - 1)(mean - without).
    """
    groups = len(without)
    return whole + (groups - 1) * (without.mean(axis=0) - without)
