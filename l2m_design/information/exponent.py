"""From a curve of nats to a law: the MI exponent with an honest interval, and which law the data prefer.

All points of a curve share documents, so their errors are dependent: whole documents are resampled
(cluster bootstrap) and every replicate goes through the choice of law and the fit again, so that the
interval holds the doubt about the law as well. Laws are compared by their error on the held-out longest
lengths: constant c, logarithm a + c ln n, power A n^b, power+constant A n^b + c.
"""

from dataclasses import dataclass

import numpy as np

from l2m_design.errors import BadInput
from l2m_design.estimates import Curve, Estimate, Floats
from l2m_design.laws import PowerLaw

EXPONENTS = np.linspace(0.02, 1.0, 491)  # I(n;n) cannot outgrow n
MISFIT = 0.003
HELD_OUT = 2
MARGIN = 0.25
DOUBT = 1.0
POOR = 6.0
KEPT_DRAWS = 200
LAWS = ("constant", "logarithm", "power", "power+constant")


@dataclass(frozen=True)
class Fit:
    """The fitted law, the preferred law's name, and how far each law missed the held-out lengths.

    misses: root mean square error on the held-out lengths, in standard errors. local_slopes: between
    neighbouring lengths.
    """

    law: PowerLaw
    preferred: str
    misses: dict[str, float]
    local_slopes: list[Estimate]

    @property
    def sentence(self) -> str:
        """Which law the data prefer, in words."""
        ranked = sorted(self.misses, key=self.misses.__getitem__)
        others = ", ".join(f"{name} {self.misses[name]:.1f}" for name in ranked if name != self.preferred)
        doubt = "; no law fits these data well" if self.misses[self.preferred] > POOR else ""
        return (
            f"the longest lengths, held out, are met best by the law '{self.preferred}' "
            f"(off by {self.misses[self.preferred]:.1f} standard errors; {others}){doubt}"
        )


def fit_curve(curve: Curve, replicates: int, level: float, rng: np.random.Generator) -> Fit:
    """Fit a curve and its bootstrap replicates. Raises BadInput when there is nothing to fit."""
    mean = curve.mean()
    if len(curve.lengths) < HELD_OUT + 3:
        raise BadInput(f"{len(curve.lengths)} lengths are too few to fit a law; at least {HELD_OUT + 3} are needed")
    draws = curve.resampled(replicates, rng)
    draws = draws[np.isfinite(draws).all(axis=1)]
    covariance = np.cov(draws.T) + np.diag((MISFIT * mean) ** 2 + 1e-12)
    lengths = curve.lengths.astype(np.float64)
    misses = {name: float(_miss(name, lengths, mean[None], covariance)[0]) for name in LAWS}
    preferred = _prefer(misses)
    value = fit_power(lengths, mean[None], covariance, preferred == "power+constant")[0]
    fitted = _plausible_fits(lengths, draws, covariance)
    prefactor, exponent, rest = value.tolist()
    law = PowerLaw(prefactor, exponent, rest, fitted, level)
    return Fit(law, preferred, misses, _local_slopes(lengths, mean, draws, level))


def _plausible_fits(lengths: Floats, draws: Floats, covariance: Floats) -> Floats:
    """[fits, 3] of the replicates: with the constant, without it, or both where neither is clearly better.

    Of all of them KEPT_DRAWS are kept, evenly spread over their exponents, which leaves the quantiles in place.
    """
    plain, offset = (_miss(name, lengths, draws, covariance) for name in ("power", "power+constant"))
    kept = [
        fit_power(lengths, draws[mine <= other + DOUBT], covariance, has_offset)
        for mine, other, has_offset in ((plain, offset, False), (offset, plain, True))
    ]
    fits = np.concatenate(kept)
    order = np.argsort(fits[:, 1])
    spread = np.linspace(0, len(fits) - 1, min(KEPT_DRAWS, len(fits))).round().astype(np.int64)
    return fits[order[spread]]


def fit_power(lengths: Floats, nats: Floats, covariance: Floats, offset: bool) -> Floats:
    """[rows, 3] prefactor, exponent, offset: generalised least squares of A n^b (+ c) to rows of nats.

    For every exponent of a fine grid the rest is linear and solved in closed form (variable projection).
    """
    white = _whitening(covariance)
    unit = np.exp(np.log(lengths).mean())
    one = white.sum(axis=0)
    one = one / np.sqrt(one @ one) if offset else np.zeros_like(one)

    def free(rows: Floats) -> Floats:
        """Whitened rows without their component along the constant."""
        rows = rows @ white
        rest: Floats = rows - np.outer(rows @ one, one)
        return rest

    target = free(nats)
    grid = free((lengths / unit) ** EXPONENTS[:, None])
    norm = (grid**2).sum(axis=1)
    gain = target @ grid.T / norm
    exponent = _peak(np.where(gain > 0, gain**2 * norm, -1.0))
    power = (lengths / unit) ** exponent[:, None]
    direction = free(power)
    amplitude = (target * direction).sum(axis=1) / (direction**2).sum(axis=1)
    left = (nats - amplitude[:, None] * power) @ white
    rest = left @ one / np.sqrt(white.sum(axis=0) @ white.sum(axis=0))
    return np.stack([amplitude * unit**-exponent, exponent, rest], axis=1)


def _whitening(covariance: Floats) -> Floats:
    """W with W W^T the inverse of the covariance: residuals times W are independent, of unit variance."""
    white: Floats = np.linalg.cholesky(np.linalg.inv(covariance))
    return white


def _peak(explained: Floats) -> Floats:
    """[rows] exponent where each row [rows, exponents] is largest, by the parabola through its neighbours."""
    index = explained.argmax(axis=1)
    inner = np.clip(index, 1, explained.shape[1] - 2)
    rows = np.arange(len(index))
    left, middle, right = (explained[rows, inner + step] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, 1.0), 0.0)
    step = EXPONENTS[1] - EXPONENTS[0]
    peak: Floats = EXPONENTS[index] + step * np.where(index == inner, np.clip(shift, -0.5, 0.5), 0.0)
    return peak


def _miss(name: str, lengths: Floats, nats: Floats, covariance: Floats) -> Floats:
    """[rows] root mean square error on the held-out lengths of a law fitted to the others, in standard errors."""
    seen = slice(None, -HELD_OUT)
    errors = np.sqrt(np.diag(covariance))
    if name.startswith("power"):
        a, b, c = fit_power(lengths[seen], nats[:, seen], covariance[seen, seen], name != "power").T[:, :, None]
        predicted = a * lengths**b + c
    else:
        degree = 1 if name == "logarithm" else 0
        coefficients = np.polyfit(np.log(lengths[seen]), nats[:, seen].T, degree, w=1 / errors[seen])
        predicted = np.stack([np.polyval(row, np.log(lengths)) for row in coefficients.T])
    missed = ((predicted - nats) / errors)[:, -HELD_OUT:]
    miss: Floats = np.sqrt((missed**2).mean(axis=1))
    return miss


def _prefer(misses: dict[str, float]) -> str:
    """The law of least miss; the two power laws must be better than simpler ones by MARGIN standard errors.

    Between those two it is the other way round: the constant stays in unless it is worse by DOUBT, since a
    missing constant bends the exponent and a needless one only widens its interval.
    """
    family = min(("power+constant", "power"), key=lambda name: misses[name] + DOUBT * (name == "power"))
    best = "constant"
    for name in ("logarithm", family):
        if misses[name] + MARGIN < misses[best]:
            best = name
    return best


def _local_slopes(lengths: Floats, mean: Floats, draws: Floats, level: float) -> list[Estimate]:
    def slopes(rows: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.log(np.where(rows > 0, rows, np.nan))
        slope: Floats = np.diff(logs, axis=1) / np.diff(np.log(lengths))
        return slope

    values, spread = slopes(mean[None])[0], slopes(draws)
    return [
        Estimate.of_draws(value, spread[:, j], level)
        if np.isfinite(value) and np.isfinite(spread[:, j]).any()
        else Estimate(np.nan, np.nan, np.nan, level)
        for j, value in enumerate(values)
    ]
