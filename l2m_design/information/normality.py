"""Are rows as Gaussian as their amount supposes? Judged by the projections of X and Y that carry it.

The canonical pairs (u_i, v_i) of X and Y carry -1/2 ln(1 - rho_i^2) nats each (Hotelling 1936). Tails of the values and
of these projections say whether a covariance can be trusted, and squares of u and v that are correlated beyond rho^2
tell of dependence that no covariance shows, as that of volatility.
"""

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.stats import kurtosis

from l2m_design.estimates import Floats

LEADING = 3
ROWS = 10  # for each value of a row: fewer, and canonical pairs fit noise
TAILS, SQUARES, ERRORS = 0.5, 0.1, 5.0


def canonical_pairs(rows: Floats, count: int) -> tuple[Floats, Floats, Floats]:
    """rho [count], u and v [samples, count] of the halves of rows [samples, 2n], variance 1, largest rho first."""
    rows = rows - rows.mean(axis=0)
    half = rows.shape[1] // 2
    white = []
    for part in (rows[:, :half], rows[:, half:]):
        factor = cholesky(part.T @ part / len(part), lower=True)
        white.append(solve_triangular(factor, part.T, lower=True).T)
    left, rho, right = np.linalg.svd(white[0].T @ white[1] / len(rows))
    return rho[:count], white[0] @ left[:, :count], white[1] @ right[:count].T


def not_normal(rows: Floats, copula: bool) -> list[str]:
    """What is doubtful in rows [samples, 2n], in words. Excess kurtosis: 0 of Gaussian values, 6 of Laplace's."""
    rho, u, v = canonical_pairs(rows, LEADING)
    error = ERRORS / np.sqrt(len(rows))
    tails = float(kurtosis(rows, axis=None))
    led = max((float(k) for k in np.atleast_1d(kurtosis(np.hstack([u, v]), axis=0))), key=abs)
    doubts = []
    if max(abs(tails), abs(led)) > max(TAILS, error * np.sqrt(24)):
        offered = "" if copula else "; `normalise` copula uses ranks instead"
        doubts.append(
            f"not Gaussian: excess kurtosis {tails:+.2g} of the values, {led:+.2g} of the projections that carry most "
            "of the amount (0 if Gaussian). The estimate and its interval are those of Gaussian data with the same "
            f"covariance{offered}"
        )
    squares = [float(np.corrcoef(u[:, i] ** 2, v[:, i] ** 2)[0, 1]) - rho[i] ** 2 for i in range(len(rho))]
    if max(squares) > max(SQUARES, error):
        doubts.append(
            f"not Gaussian: squares of the projections that carry most of the amount are correlated by "
            f"{max(squares):.2f} more than the covariance implies (volatility with memory does this): the halves share "
            "more information than estimated"
        )
    return doubts
