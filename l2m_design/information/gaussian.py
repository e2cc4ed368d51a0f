"""Gaussian estimator for real values: I = 1/2 ln(det S_X det S_Y / det S), S the covariance of windows.

Log-determinants by Cholesky. The logarithm of a sample determinant is too small by a known amount: for N independent
Gaussian rows of d numbers E[ln det S_sample] = ln det S + sum_{i<d} psi((N - i)/2) - d ln(N/2), which is taken off
(so the values are those of Gaussian data with this covariance, whatever the data are). With fewer than twice as many
rows as numbers the covariance is shrunk instead (Ledoit and Wolf 2004), which pulls the information towards 0.

The control: Y beside the X of other recordings shares nothing, so the same estimate of such pairs must be 0 within
chance. Where rows are a mixture of scales or have heavy tails it is not: the bias taken off is that of Gaussian rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky
from scipy.special import psi

from l2m_design.corpus.base import Documents
from l2m_design.errors import BadInput
from l2m_design.estimates import Curve, Floats, jackknife_rows
from l2m_design.information.normality import ROWS, not_normal
from l2m_design.information.profile import Advance

GROUPS = 20
FEWEST_LENGTHS = 5
PAIRINGS = 8
ERRORS, PART = 4.0, 0.1  # the control fails beyond so many standard errors and this part of the amount


@dataclass(frozen=True)
class Gaussian:
    """A curve; other: [lengths] nats of Y beside the X of other recordings; contradicted: these are not 0 somewhere.

    notes: warnings in words.
    """

    curve: Curve
    other: Floats
    contradicted: bool
    notes: list[str]


@dataclass(frozen=True)
class _Rows:
    """Windows [samples, 2n] side by side, the document of each, and the group it is left out with."""

    values: Floats
    document: NDArray[np.int64]
    group: NDArray[np.int64]

    @property
    def few(self) -> bool:
        """Fewer rows, one group left out, than twice as many as a row has values."""
        return len(self.values) * (1 - 2 / GROUPS) < 2 * self.values.shape[1]


@dataclass(frozen=True)
class Reading:
    """How recordings are read: time steps of `channels` values; `windows` of each length at most, none overlapping
    another, since the correction counts them as independent; whole: whole documents, and no others.
    """

    channels: int
    windows: int
    whole: bool = False


def gaussian(
    documents: Documents,
    lengths: NDArray[np.int64],
    reading: Reading,
    copula: bool = False,
    advance: Advance = lambda lengths: None,
) -> Gaussian:
    """I(n;n) in nats, n in time steps.

    lengths: in values. copula: values are normal scores. Rows of the curve: the jackknife of GROUPS groups of
    documents. Lengths whose covariance would be shrunk, or that the control contradicts,
    are left out while FEWEST_LENGTHS others remain. Raises BadInput.
    """
    channels = reading.channels
    samples = [_windows(documents, n, reading) for n in lengths.tolist()]
    few = np.array([rows.few for rows in samples])
    kept, notes = _without(few, lengths // channels)
    points, others, fails = [], [], []
    for index in np.nonzero(kept)[0].tolist():
        rows = samples[index]
        whole = _information(rows.values, rows.few)
        without = [_information(rows.values[rows.group != g], rows.few) for g in range(GROUPS)]
        points.append(jackknife_rows(np.array([whole]), np.array(without)[:, None])[:, 0])
        other = np.array([_information(pairs, rows.few) for pairs in _other_pairs(rows)])
        others.append(other.mean())
        chance = ERRORS * max(other.std(ddof=1), _chance(rows.values)) / np.sqrt(len(other))
        fails.append(other.mean() > max(chance, PART * whole))
        advance(1)
    lengths, nats, other, failed = (
        lengths[kept] // channels,
        np.stack(points, axis=1),
        np.array(others),
        np.array(fails),
    )
    trusted = np.ones(len(lengths), dtype=bool)
    if failed.any() and (~failed).sum() >= FEWEST_LENGTHS:
        trusted = ~failed
        notes.append(
            f"n = {lengths[failed].tolist()} is left out: Y seems to share "
            f"{', '.join(f'{x:.3g}' for x in other[failed])} nats with the X of other recordings, but truly shares 0"
        )
    many = [rows.values for rows in samples if len(rows.values) >= ROWS * rows.values.shape[1]]
    notes += not_normal(many[-1], copula) if many else []
    curve = Curve(lengths[trusted], nats[:, trusted], "gaussian", unit="groups of documents")
    return Gaussian(curve, other[trusted], bool(failed[trusted].any()), notes)


def _without(few: NDArray[np.bool_], steps: NDArray[np.int64]) -> tuple[NDArray[np.bool_], list[str]]:
    """Which lengths are measured where some have few rows, and notes about them."""
    if not few.any():
        return ~few, []
    left_out = bool((~few).sum() >= FEWEST_LENGTHS)
    done = "left out" if left_out else "their covariance was shrunk, so these values may be far too small or too large"
    note = f"there are fewer than twice as many windows as values in a window at n = {steps[few].tolist()}: {done}"
    return (~few if left_out else np.ones(len(few), dtype=bool)), [note]


def _other_pairs(rows: _Rows) -> Iterator[Floats]:
    """PAIRINGS times the rows with the Y of another document, or of far in its own, at the norm of the row's own Y.

    The norm keeps what halves share of their scale, from which the covariance of a mixture is off.
    """
    count, half = rows.values.shape[0], rows.values.shape[1] // 2
    x, y = rows.values[:, :half], rows.values[:, half:] - rows.values[:, half:].mean(axis=0)
    norm = np.sqrt((y**2).sum(axis=1, keepdims=True))
    longest = int(np.unique(rows.document, return_counts=True)[1].max())
    least = longest if 2 * longest <= count else count // 4
    for shift in np.random.default_rng(0).integers(least, count - least + 1, PAIRINGS).tolist():
        other, its = np.roll(y, shift, axis=0), np.roll(norm, shift, axis=0)
        yield np.hstack([x, other * norm / np.where(its > 0, its, 1.0)])


def _chance(values: Floats) -> float:
    """Standard error of the estimate from independent Gaussian halves: 2 N I is about chi squared of n^2 degrees."""
    samples, size = values.shape
    return float(size / 2 / np.sqrt(2) / samples)


def enough(documents: Documents, n: int) -> bool:
    """True when the documents hold windows of 2n values enough for a covariance that need not be shrunk."""
    return int((documents.lengths // (2 * n)).sum()) * (1 - 2 / GROUPS) >= 4 * n


def _windows(documents: Documents, n: int, reading: Reading) -> _Rows:
    """Windows without overlap in the documents; groups are documents in turn, or stretches."""
    each = documents.lengths // (2 * n)
    if reading.whole:
        each = (documents.lengths == 2 * n).astype(np.int64)
    document = np.repeat(np.arange(len(documents)), each)
    inside = np.arange(len(document)) - np.repeat(np.cumsum(each) - each, each)
    kept = np.linspace(0, len(document) - 1, min(reading.windows, len(document))).round().astype(np.int64)
    if len(kept) < 2 * GROUPS:
        raise BadInput(
            f"gaussian: {len(kept)} windows of {2 * n // reading.channels} time steps; {2 * GROUPS} are needed"
        )
    document, inside = document[kept], inside[kept]
    begin = documents.spans[document, 0] + inside * 2 * n
    values = np.asarray(documents.tokens[begin[:, None] + np.arange(2 * n)], dtype=np.float64)
    if len(np.unique(document)) >= 2 * GROUPS:
        return _Rows(values, document, np.unique(document, return_inverse=True)[1] % GROUPS)
    return _Rows(values, document, np.arange(len(kept)) * GROUPS // len(kept))


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
        raise BadInput("gaussian: the covariance of the values is singular (constant or repeated channels)") from None


def _bias(samples: int, first: int, last: int) -> float:
    """sum of psi((samples - i)/2) over first <= i < last."""
    return float(psi((samples - np.arange(first, last)) / 2).sum())
