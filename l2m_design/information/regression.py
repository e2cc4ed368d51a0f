"""Generalised least squares of the laws that a curve may follow, many rows of nats at once.

constant c; logarithm a + c ln n; saturation c - A n^-b; power A n^b; power+constant A n^b + c.
"""

import numpy as np
from numpy.typing import NDArray

from l2m_design.estimates import Floats

EXPONENTS = np.linspace(0.02, 1.0, 491)  # I(n;n) cannot outgrow n
DECAYS = np.linspace(-2.0, -0.02, 199)
LAWS = ("constant", "logarithm", "saturation", "power", "power+constant")


def fit_power(lengths: Floats, nats: Floats, covariance: Floats, offset: bool, exponents: Floats = EXPONENTS) -> Floats:
    """[rows, 3] prefactor, exponent, offset of A n^b (+ c) fitted to rows of nats, A of the exponent's sign.

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
    grid = free((lengths / unit) ** exponents[:, None])
    norm = (grid**2).sum(axis=1)
    gain = target @ grid.T / norm
    exponent = _peak(np.where(gain * np.sign(exponents) > 0, gain**2 * norm, -1.0), exponents)
    power = (lengths / unit) ** exponent[:, None]
    direction = free(power)
    amplitude = (target * direction).sum(axis=1) / (direction**2).sum(axis=1)
    left = (nats - amplitude[:, None] * power) @ white
    rest = left @ one / np.sqrt(white.sum(axis=0) @ white.sum(axis=0))
    return np.stack([amplitude * unit**-exponent, exponent, rest], axis=1)


def fitted(name: str, lengths: Floats, nats: Floats, covariance: Floats, at: Floats) -> Floats:
    """[rows, at] nats of the law `name`, fitted to rows of nats at `lengths`, read at lengths `at`."""
    if name.startswith("power") or name == "saturation":
        grid = DECAYS if name == "saturation" else EXPONENTS
        a, b, c = fit_power(lengths, nats, covariance, name != "power", grid).T[:, :, None]
        read: Floats = a * at**b + c
        return read
    shapes = [np.ones_like(lengths)] + ([np.log(lengths)] if name == "logarithm" else [])
    white = _whitening(covariance)
    coefficients = np.linalg.lstsq((np.stack(shapes) @ white).T, (nats @ white).T, rcond=None)[0]
    shapes_at = [np.ones_like(at)] + ([np.log(at)] if name == "logarithm" else [])
    return np.asarray(coefficients.T @ np.stack(shapes_at))


def misfit(name: str, lengths: Floats, nats: Floats, covariance: Floats) -> Floats:
    """[rows] chi squared of the fitted law over all lengths."""
    left = (nats - fitted(name, lengths, nats, covariance, lengths)) @ _whitening(covariance)
    chi: Floats = (left**2).sum(axis=1)
    return chi


def held_out_miss(name: str, lengths: Floats, nats: Floats, covariance: Floats, held_out: int) -> Floats:
    """[rows] root mean square error at the `held_out` longest lengths of a law fitted to the others, in its errors."""
    seen = slice(None, -held_out)
    predicted = fitted(name, lengths[seen], nats[:, seen], covariance[seen, seen], lengths[-held_out:])
    missed = (predicted - nats[:, -held_out:]) / np.sqrt(np.diag(covariance))[-held_out:]
    miss: Floats = np.sqrt((missed**2).mean(axis=1))
    return miss


def _whitening(covariance: Floats) -> Floats:
    """W with W W^T the inverse of the covariance: residuals times W are independent, of unit variance."""
    white: Floats = np.linalg.cholesky(np.linalg.inv(covariance))
    return white


def _peak(explained: Floats, exponents: Floats) -> Floats:
    """[rows] exponent where each row [rows, exponents] is largest, by the parabola through its neighbours."""
    index: NDArray[np.int64] = explained.argmax(axis=1)
    inner = np.clip(index, 1, explained.shape[1] - 2)
    rows = np.arange(len(index))
    left, middle, right = (explained[rows, inner + step] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, 1.0), 0.0)
    step = exponents[1] - exponents[0]
    peak: Floats = exponents[index] + step * np.where(index == inner, np.clip(shift, -0.5, 0.5), 0.0)
    return peak
