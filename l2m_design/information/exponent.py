"""From a curve of nats to a law: the MI exponent with an honest interval, and which law the data prefer.

All points of a curve share documents, so their errors are dependent: whole documents are resampled (cluster
bootstrap), and the fits weigh the points by the covariance of the replicates. A law with more freedom must earn it
twice: over all lengths (chi squared) and at the two longest, held out. Intervals hold the replicates fitted to all
lengths and to all but the shortest, since no range of lengths is quite a power law.
"""

from dataclasses import dataclass

import numpy as np

from l2m_design.errors import BadInput
from l2m_design.estimates import Curve, Estimate, Floats
from l2m_design.information.regression import DECAYS, LAWS, fit_power, fitted, held_out_miss, misfit
from l2m_design.laws import Form, PowerLaw

MISFIT = 0.003
HELD_OUT = 2
MARGIN = 0.25
DOUBT = 1.0
EARNED, STAYS = 16.0, 4.0
POOR = 6.0
KEPT_DRAWS = 200
JUDGED_DRAWS = 200


@dataclass(frozen=True)
class Fit:
    """The fitted law, the preferred law's name, and how the laws compare.

    law: the power law, whatever is preferred. required: what is preferred, with draws: the power law, a logarithm or a
    constant (of a saturation its asymptote). misses: root mean square error on the held-out lengths, in standard
    errors. agreement: share of the bootstrap replicates that prefer the same law (either power law counts as the
    other). local_slopes: between neighbouring lengths. line: [2, points] lengths and nats of the preferred law.
    """

    law: PowerLaw
    required: PowerLaw
    preferred: str
    misses: dict[str, float]
    agreement: float
    local_slopes: list[Estimate]
    line: Floats

    @property
    def has_exponent(self) -> bool:
        """True when the data prefer a power law."""
        return self.preferred.startswith("power")

    @property
    def sentence(self) -> str:
        """Which law the data prefer, and how sure that is, in words."""
        ranked = sorted(self.misses, key=self.misses.__getitem__)
        others = ", ".join(f"{name} {self.misses[name]:.1f}" for name in ranked if name != self.preferred)
        doubt = "; no law fits these data well" if self.misses[self.preferred] > POOR else ""
        kind = "a power law" if self.has_exponent else f"the law '{self.preferred}'"
        return (
            f"{kind} is preferred, also in {self.agreement:.0%} of the bootstrap replicates; fitted without the two "
            f"longest lengths, '{self.preferred}' misses them by {self.misses[self.preferred]:.1f} standard errors "
            f"({others}){doubt}"
        )


def fit_curve(curve: Curve, replicates: int, level: float, rng: np.random.Generator) -> Fit:
    """Fit a curve and its bootstrap replicates. Raises BadInput when there is nothing to fit."""
    mean = curve.mean()
    if len(curve.lengths) < HELD_OUT + 3:
        raise BadInput(f"{len(curve.lengths)} lengths are too few to fit a law; at least {HELD_OUT + 3} are needed")
    draws = curve.resampled(replicates, rng)
    draws = draws[np.isfinite(draws).all(axis=1)]
    lengths = curve.lengths.astype(np.float64)
    covariance = _covariance(draws, mean, len(curve.nats))
    rows = np.concatenate([mean[None], draws[:JUDGED_DRAWS]])
    names, misses = _preferences(lengths, rows, covariance, len(curve.nats))
    preferred = names[0]
    kinds = ["power" if name.startswith("power") else name for name in names]
    prefactor, exponent, offset = fit_power(lengths, mean[None], covariance, preferred != "power")[0].tolist()
    grid = np.geomspace(lengths[0], lengths[-1], 60)
    fits = _plausible_fits(lengths, draws, covariance, preferred)
    law = PowerLaw(prefactor, exponent, offset, fits, level)
    return Fit(
        law=law,
        required=law
        if preferred.startswith("power")
        else _without_exponent(preferred, lengths, mean, draws, covariance, level),
        preferred=preferred,
        misses=misses,
        agreement=float(np.mean([kind == kinds[0] for kind in kinds[1:]])),
        local_slopes=_local_slopes(lengths, mean, draws, level),
        line=np.stack([grid, fitted(preferred, lengths, mean[None], covariance, grid)[0]]),
    )


def _without_exponent(
    preferred: str, lengths: Floats, mean: Floats, draws: Floats, covariance: Floats, level: float
) -> PowerLaw:
    """The preferred law without an exponent, with its draws: a + b ln n, a constant, or a saturation's asymptote."""
    rows = np.concatenate([mean[None], draws[:KEPT_DRAWS]])
    if preferred == "saturation":
        offset, slope = fit_power(lengths, rows, covariance, True, DECAYS)[:, 2], np.zeros(len(rows))
    else:
        at_one, at_e = fitted(preferred, lengths, rows, covariance, np.array([1.0, np.e])).T
        offset, slope = at_one, at_e - at_one
    form: Form = "logarithm" if preferred == "logarithm" and slope[0] > 0 else "constant"
    if form == "constant" and slope[0] < 0:  # what falls is a fault of the estimator: the largest value is required
        offset, slope = rows.max(axis=1), np.zeros(len(rows))
    fits = np.stack([slope, np.zeros(len(rows)), offset], axis=1)
    return PowerLaw(float(slope[0]), 0.0, float(offset[0]), fits[1:], level, form)


def _covariance(draws: Floats, mean: Floats, rows: int) -> Floats:
    """[lengths, lengths] covariance of the mean; from few rows its correlations are drawn towards none."""
    found = np.cov(draws.T)
    trust = max(0.0, 1 - len(mean) / rows)
    shrunk: Floats = trust * found + (1 - trust) * np.diag(np.diag(found))
    return shrunk + np.diag((MISFIT * mean) ** 2 + 1e-12)


def _preferences(lengths: Floats, rows: Floats, covariance: Floats, count: int) -> tuple[list[str], dict[str, float]]:
    """The preferred law of each row [rows, lengths], and the held-out misses of the first.

    The inverse of a covariance from `count` rows is too large by (count - 1)/(count - lengths - 2) (Hartlap 2007).
    """
    honest = max(0.2, (count - len(lengths) - 2) / (count - 1))
    chi = {name: honest * misfit(name, lengths, rows, covariance) for name in LAWS}
    misses = {name: held_out_miss(name, lengths, rows, covariance, HELD_OUT) for name in LAWS}
    names = [
        _prefer({name: chi[name][row] for name in LAWS}, {name: misses[name][row] for name in LAWS})
        for row in range(len(rows))
    ]
    return names, {name: float(misses[name][0]) for name in LAWS}


def _prefer(chi: dict[str, float], misses: dict[str, float]) -> str:
    """From the simplest law on, each that earns its freedom over the last preferred one.

    A constant beside the power stays in when it earns it over all lengths, and else unless the held-out lengths are
    against it by DOUBT: a missing constant bends the exponent, a needless one only widens its interval.
    """
    with_constant = chi["power"] - chi["power+constant"] > STAYS
    with_constant |= misses["power+constant"] <= misses["power"] + DOUBT
    best = "constant"
    for name in ("logarithm", "saturation", "power+constant" if with_constant else "power"):
        if chi[best] - chi[name] > EARNED and misses[best] - misses[name] > MARGIN:
            best = name
    return best


def _plausible_fits(lengths: Floats, draws: Floats, covariance: Floats, preferred: str) -> Floats:
    """[fits, 3] of the replicates: over all lengths and without the shortest; where the constant is left out, both.

    Of all of them KEPT_DRAWS are kept, evenly spread over their exponents, which leaves the quantiles in place.
    """
    late = slice(1, None)
    kept = [
        fit_power(lengths[part], draws[:, part], covariance[part, part], has_offset)
        for part in (slice(None), late)
        for has_offset in ([True] if preferred != "power" else [False, True])
    ]
    fits = np.concatenate(kept)
    order = np.argsort(fits[:, 1])
    spread = np.linspace(0, len(fits) - 1, min(KEPT_DRAWS, len(fits))).round().astype(np.int64)
    return fits[order[spread]]


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
