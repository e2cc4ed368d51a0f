"""Gaussian sources: what their covariance alone decides, the information and the exact predictor's loss."""

from abc import abstractmethod

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from l2m_design.corpus.arrays import ArrayCorpus
from l2m_design.estimates import Floats


class GaussianSource(ArrayCorpus):
    """A zero-mean Gaussian sequence: every answer follows from the covariance of its first t values."""

    _factor: Floats | None = None

    @abstractmethod
    def covariance(self, length: int) -> Floats:
        """[length, length] covariance of the first `length` values."""

    def _cholesky(self, length: int) -> Floats:
        """Lower factor of the covariance; that of fewer values is its corner, so the largest is kept."""
        if self._factor is None or len(self._factor) < length:
            self._factor = cholesky(self.covariance(length), lower=True)
        return self._factor[:length, :length]

    def information(self, n: int) -> float:
        """I(n;n) = 1/2 ln(det S_X det S_Y / det S_XY) in nats, S_X = S_Y: twice the log-determinant less the joint."""
        logs = np.log(np.diag(self._cholesky(2 * n)))
        return float(2 * logs[:n].sum() - logs.sum())

    def bayes_nats(self, values: Floats) -> Floats:
        """[b t] -ln density of each value given those before it in its window [b t] (nats of a density: may be < 0).

        The innovations z = L^-1 x are independent and standard: -ln p = ln L_tt + z_t^2 / 2 + ln(2 pi) / 2.
        """
        factor = self._cholesky(values.shape[1])
        innovations = solve_triangular(factor, values.T, lower=True, check_finite=False).T
        nats: Floats = np.log(np.diag(factor)) + 0.5 * innovations**2 + 0.5 * np.log(2 * np.pi)
        return nats
