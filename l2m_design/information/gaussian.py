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

from l2m_design.corpus.base import Documents
from l2m_design.errors import BadInput
from l2m_design.estimates import Curve, Floats, jackknife_rows
from l2m_design.information.profile import Advance

GROUPS = 20
FEWEST_LENGTHS = 5


def gaussian_curve(
    documents: Documents,
    lengths: NDArray[np.int64],
    channels: int,
    windows: int,
    whole_documents: bool,
    advance: Advance = lambda lengths: None,
) -> tuple[Curve, list[str]]:
    """I(n;n) in nats, n in time steps of `channels` values each, and what the user should be told.

    lengths: in values. windows: at most so many of each length, none overlapping another, since the correction counts
    them as independent; whole_documents: these, and no others. Rows of the curve: the jackknife of GROUPS groups of
    documents. Raises BadInput.
    """
    samples = [_windows(documents, n, channels, windows, whole_documents) for n in lengths.tolist()]
    few = np.array([len(values) * (1 - 2 / GROUPS) < 2 * values.shape[1] for values, _ in samples])
    notes = []
    if few.any():
        left_out = bool((~few).sum() >= FEWEST_LENGTHS)
        done = "left out" if left_out else "covariance shrunk, so these values are far off, either way"
        notes = [
            f"fewer than twice as many windows as values in them at n = {(lengths[few] // channels).tolist()}: {done}"
        ]
        kept = ~few if left_out else np.ones(len(lengths), dtype=bool)
    else:
        kept = ~few
    whole, without = np.empty(int(kept.sum())), np.empty((GROUPS, int(kept.sum())))
    for column, index in enumerate(np.nonzero(kept)[0].tolist()):
        values, group = samples[index]
        whole[column] = _information(values, bool(few[index]))
        for g in range(GROUPS):
            without[g, column] = _information(values[group != g], bool(few[index]))
        advance(1)
    rows = jackknife_rows(whole, without)
    return Curve(lengths[kept] // channels, rows, "gaussian", unit="groups of documents"), notes


def enough(documents: Documents, n: int) -> bool:
    """True when the documents hold windows of 2n values enough for a covariance that need not be shrunk."""
    return int((documents.lengths // (2 * n)).sum()) * (1 - 2 / GROUPS) >= 4 * n


def _windows(
    documents: Documents, n: int, channels: int, most: int, whole_documents: bool
) -> tuple[Floats, NDArray[np.int64]]:
    """[windows, 2n] values side by side in the documents, and the group of each: documents in turn, or stretches."""
    each = documents.lengths // (2 * n)
    if whole_documents:
        each = (documents.lengths == 2 * n).astype(np.int64)
    document = np.repeat(np.arange(len(documents)), each)
    inside = np.arange(len(document)) - np.repeat(np.cumsum(each) - each, each)
    kept = np.linspace(0, len(document) - 1, min(most, len(document))).round().astype(np.int64)
    if len(kept) < 2 * GROUPS:
        raise BadInput(f"gaussian: {len(kept)} windows of {2 * n // channels} time steps; {2 * GROUPS} are needed")
    document, inside = document[kept], inside[kept]
    begin = documents.spans[document, 0] + inside * 2 * n
    values = np.asarray(documents.tokens[begin[:, None] + np.arange(2 * n)], dtype=np.float64)
    if len(np.unique(document)) >= 2 * GROUPS:
        return values, np.unique(document, return_inverse=True)[1] % GROUPS
    return values, np.arange(len(kept)) * GROUPS // len(kept)


def _information(rows: Floats, shrink: bool) -> float:
    """I between the halves of rows [samples, 2n] in nats."""
    samples, size = rows.shape
    rows = rows - rows.mean(axis=0)
    if shrink:
        from sklearn.covariance import ledoit_wolf

        covariance: Floats = ledoit_wolf(rows, assume_centered=True)[0]
    else:
        covariance = rows.T @ rows / (samples - 1)
    half = size // 2
    # the joint determinant is that of X times that of Y given X, so one factor gives two of the three
    joint = _log_diagonal(covariance)
    y = _log_diagonal(covariance[half:, half:])
    nats = float(y.sum() - joint[half:].sum())
    return nats if shrink else nats - 0.5 * (_bias(samples - 1, 0, half) - _bias(samples - 1, half, size))


def _log_diagonal(covariance: Floats) -> Floats:
    """Half the log-determinant, factor by factor."""
    try:
        return np.log(np.diag(cholesky(covariance, lower=True)))
    except np.linalg.LinAlgError:
        raise BadInput("gaussian: the values' covariance is singular (constant or repeated channels)") from None


def _bias(samples: int, first: int, last: int) -> float:
    """sum of psi((samples - i)/2) over first <= i < last."""
    return float(psi((samples - np.arange(first, last)) / 2).sum())
