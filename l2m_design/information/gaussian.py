"""Gaussian estimator for real values: I = 1/2 ln(det S_X det S_Y / det S), S the covariance of windows.

Log-determinants by Cholesky. The logarithm of a sample determinant is too small by a known amount: for N independent
Gaussian rows of d numbers E[ln det S_sample] = ln det S + sum_{i<d} psi((N - i)/2) - d ln(N/2), which is taken off
(so the values are those of Gaussian data with this covariance, whatever the data are). With fewer than twice as many
rows as numbers the covariance is shrunk instead (Ledoit and Wolf 2004), which pulls the information towards 0.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky
from scipy.special import psi

from l2m_design.errors import BadInput
from l2m_design.estimates import Curve, Floats, jackknife_rows
from l2m_design.information.places import Places
from l2m_design.information.profile import Advance

GROUPS = 20


def gaussian_curve(places: Places, channels: int, advance: Advance = lambda windows: None) -> tuple[Curve, list[str]]:
    """I(n;n) in nats, n in time steps of `channels` values each, and what the user should be told.

    Rows of the curve: the jackknife of GROUPS groups of documents.
    """
    whole, without = np.empty(len(places.lengths)), np.empty((GROUPS, len(places.lengths)))
    shrunk = []
    for column, n in enumerate(places.lengths.tolist()):
        values, group = _windows(places, n)
        whole[column], needs = _information(values)
        if needs:
            shrunk.append(n // channels)
        for g in range(GROUPS):
            without[g, column] = _information(values[group != g])[0]
        advance(1)
    notes = [f"fewer than twice as many windows as numbers at n = {shrunk}: covariance shrunk"] if shrunk else []
    rows = jackknife_rows(whole, without)
    return Curve(places.lengths // channels, rows, "gaussian", unit="groups of documents"), notes


def _windows(places: Places, n: int) -> tuple[Floats, NDArray[np.int64]]:
    """[places, 2n] values and the group of each row: documents in turn, or windows where documents are few."""
    chosen = places.n == n
    index = places.begin[chosen][:, None] + np.arange(2 * n)
    values = np.asarray(places.documents.tokens[index], dtype=np.float64)
    unit = places.document[chosen]
    if len(np.unique(unit)) < 2 * GROUPS:
        unit = places.window[chosen]
    names, which = np.unique(unit, return_inverse=True)
    if len(names) < 2 * GROUPS:
        raise BadInput(f"gaussian: {len(names)} windows of {2 * n} values; at least {2 * GROUPS} are needed")
    return values - values.mean(axis=0), which % GROUPS


def _information(rows: Floats) -> tuple[float, bool]:
    """I between the halves of rows [samples, 2n] in nats, and whether the covariance had to be shrunk."""
    samples, size = rows.shape
    rows = rows - rows.mean(axis=0)
    shrink = samples - 1 < 2 * size
    if shrink:
        from sklearn.covariance import ledoit_wolf

        covariance: Floats = ledoit_wolf(rows, assume_centered=True)[0]
    else:
        covariance = rows.T @ rows / (samples - 1)
    half = size // 2
    # the joint determinant is that of X times that of Y given X, so one factor gives two of the three
    joint = _log_diagonal(covariance)
    y = _log_diagonal(covariance[half:, half:])
    nats = y.sum() - joint[half:].sum()
    if not shrink:
        nats -= 0.5 * (_bias(samples - 1, 0, half) - _bias(samples - 1, half, size))
    return float(nats), shrink


def _log_diagonal(covariance: Floats) -> Floats:
    """Half the log-determinant, factor by factor."""
    try:
        return np.log(np.diag(cholesky(covariance, lower=True)))
    except np.linalg.LinAlgError:
        raise BadInput("gaussian: the values' covariance is singular (constant or repeated channels)") from None


def _bias(samples: int, first: int, last: int) -> float:
    """sum of psi((samples - i)/2) over first <= i < last."""
    return float(psi((samples - np.arange(first, last)) / 2).sum())
