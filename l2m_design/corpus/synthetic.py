"""Synthetic sources with exact answers: the Santa Fe process."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.errors import BadInput
from l2m_design.estimates import Floats
from l2m_design.settings import Values, unknown_key


class SantaFeSettings(Values):
    """beta in (0, 1), pairs a document, keys before truncation, documents, seed."""

    beta: Annotated[float, Field(gt=0.0, lt=1.0)]
    pairs: Annotated[int, Field(ge=2, le=2**24)] = 4096
    keys: Annotated[int, Field(ge=2, le=2**26)] = 4096
    documents: Annotated[int, Field(ge=10, le=10**6)] = 256
    seed: Annotated[int, Field(ge=0)] = 0


class SantaFe(Corpus):
    """Santa Fe process (Debowski): X_i = (K_i, Z_{K_i}), P(K = k) ~ k^(-1/beta), Z_k fair bits drawn once a document.

    Tokens: the key (0 .. keys-1), then its bit (keys or keys + 1), so n tokens are n/2 pairs. Two halves share
    exactly the bits of the keys seen in both, hence with V(m) = sum_k 1 - (1 - p_k)^m the information is
    I(n;n) = ln 2 · (2 V(m) - V(2m)) = ln 2 · sum_k (1 - (1 - p_k)^m)^2, m = n/2 pairs, growing as n^beta
    with a constant of -ln(2)/2 (keys truncated: the same sums over the kept keys).
    """

    period = 2

    def __init__(self, settings: SantaFeSettings) -> None:
        self.settings = settings
        options = ",".join(f"{key}={value}" for key, value in settings.plain().items())
        self.name = f"santa-fe:{options}"
        self.vocabulary = settings.keys + 2
        weights = np.arange(1, settings.keys + 1, dtype=np.float64) ** (-1 / settings.beta)
        self.key_probabilities = weights / weights.sum()

    @property
    def fingerprint(self) -> str:
        """Hash of the settings, which fix every token."""
        return self.settings.fingerprint

    def write(self, writer: TokenWriter) -> None:
        """Draw every document from its own seed."""
        cumulative = np.cumsum(self.key_probabilities)
        for index in range(self.settings.documents):
            rng = np.random.default_rng([self.settings.seed, index])
            keys = np.searchsorted(cumulative, rng.random(self.settings.pairs) * cumulative[-1], side="right")
            facts = rng.integers(0, 2, size=self.settings.keys, dtype=np.uint8)
            writer.begin(f"document {index}")
            writer.add(np.stack([keys, self.settings.keys + facts[keys].astype(np.int64)], axis=1).ravel())

    def information(self, n: int) -> float:
        """I(n;n) in nats between two neighbouring runs of n tokens (n even), exact."""
        if n % 2:
            raise ValueError(f"n must be even (key and bit), found {n}")
        seen = -np.expm1(n // 2 * np.log1p(-self.key_probabilities))
        return float((seen**2).sum() * np.log(2))

    def bayes_nats(self, tokens: NDArray[np.int64]) -> Floats:
        """[b t] nats: loss of the exact Bayes predictor on windows [b t] that start with a key.

        A key costs -ln p_k always; its bit costs nothing when the key stood earlier in the window, else ln 2.
        """
        nats = np.empty(tokens.shape)
        keys = tokens[:, 0::2]
        nats[:, 0::2] = -np.log(self.key_probabilities[keys])
        for row, row_keys in zip(nats, keys, strict=True):
            first = np.zeros(row_keys.size, dtype=bool)
            first[np.unique(row_keys, return_index=True)[1]] = True
            row[1::2] = np.where(first, np.log(2), 0.0)[: tokens.shape[1] // 2]
        return nats


def santa_fe(options: str, spec: str) -> SantaFe:
    """The corpus of `beta=0.7,pairs=...,keys=...`. Raises BadInput naming the option."""
    values: dict[str, object] = {}
    for option in filter(None, options.split(",")):
        key, _, text = option.partition("=")
        if key.strip() not in SantaFeSettings.model_fields:
            raise BadInput(f"{spec}: {unknown_key(key.strip(), SantaFeSettings.model_fields)}")
        try:
            values[key.strip()] = float(text) if key.strip() == "beta" else int(text)
        except ValueError:
            raise BadInput(f"{spec}: {key}: a number is expected, found '{text}'") from None
    return SantaFe(SantaFeSettings.parse(values, spec))
