"""Entropy from counts."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import psi

from l2m_design.estimates import Floats


def grassberger(counts: Floats | NDArray[np.int64]) -> float:
    """Entropy in nats of the law behind counts [symbols], nearly free of the bias of few samples.

    H = ln N - (1/N) sum n_i G(n_i), G(n) = psi(n) + (-1)^n/2 · [psi((n+1)/2) - psi(n/2)] (Grassberger 2003).
    """
    values, times = np.unique(np.asarray(counts, dtype=np.int64), return_counts=True)
    n, times = values[values > 0].astype(np.float64), times[values > 0]
    total = float((n * times).sum())
    g = psi(n) + np.where(n % 2 == 0, 0.5, -0.5) * (psi((n + 1) / 2) - psi(n / 2))
    return float(np.log(total) - (times * n * g).sum() / total)
