"""ARFIMA(0,d,0): power-law correlations without a power law of information. The negative control."""

from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.linalg import toeplitz

from l2m_design.corpus.arrays import Quantiser
from l2m_design.corpus.base import Documents
from l2m_design.corpus.synthetic.gaussian import GaussianSource
from l2m_design.estimates import Floats
from l2m_design.settings import Values, fingerprint


class ArfimaSettings(Values):
    """d in (0, 1/2), values a document, documents, seed."""

    d: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.4
    length: Annotated[int, Field(ge=32, le=8192)] = 4096
    documents: Annotated[int, Field(ge=10, le=10**6)] = 512
    seed: Annotated[int, Field(ge=0)] = 0


class Arfima(GaussianSource):
    """Fractionally integrated noise (1 - B)^d x_t = e_t, scaled to unit variance.

    Autocorrelations r(0) = 1, r(j) = r(j-1) (j - 1 + d)/(j - d), a power law j^(2d-1). The prediction errors
    v_t = v_{t-1} (1 - a_t^2) have partial autocorrelations a_t = d/(t - d) (Hosking 1981). As I(n;n) =
    1/2 sum_{t<=n} (ln v_t - ln v_{n+t}) and ln v_t - ln v_inf ~ d^2/t, the information is (d^2/2) ln n + constant:
    a logarithm. A tool that reports a power law here is wrong. Two-point correlations cannot tell.
    """

    def __init__(self, settings: ArfimaSettings) -> None:
        self.settings = settings
        self.name = "arfima:" + ",".join(f"{key}={value}" for key, value in settings.plain().items())
        self.quantiser = Quantiser(quantise="uniform")
        self.vocabulary = self.quantiser.levels

    @property
    def fingerprint(self) -> str:
        """Hash of the settings, which fix every value."""
        return fingerprint(self.name)

    def _autocorrelation(self, length: int) -> Floats:
        lags = np.arange(1, length)
        steps: Floats = (lags - 1 + self.settings.d) / (lags - self.settings.d)
        return np.concatenate([[1.0], np.cumprod(steps)])

    def covariance(self, length: int) -> Floats:
        """[length, length] Toeplitz matrix of the autocorrelations."""
        matrix: Floats = toeplitz(self._autocorrelation(length))
        return matrix

    @cached_property
    def values(self) -> Documents:
        """Drawn exactly, from the circulant matrix that holds the covariance (Davies and Harte 1987)."""
        count, length = self.settings.documents, self.settings.length
        row = self._autocorrelation(length + 1)
        spectrum = np.fft.rfft(np.concatenate([row, row[-2:0:-1]])).real.clip(min=0.0)
        rng = np.random.default_rng([self.settings.seed, count])
        flat = np.empty(count * length, dtype=np.float32)
        for index in range(count):
            noise = np.fft.rfft(rng.normal(size=2 * length))
            flat[index * length : (index + 1) * length] = np.fft.irfft(np.sqrt(spectrum) * noise)[:length]
        ends = np.arange(1, count + 1) * length
        return Documents(flat, np.stack([ends - length, ends], axis=1))
