"""The Santa Fe process: facts met again and again, information growing as any power."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.estimates import Floats
from l2m_design.settings import Values, fingerprint


class SantaFeSettings(Values):
    """beta in (0, 1), bits of a fact, pairs a document, keys before truncation, documents, seed.

    noise: share of pairs that are no facts: a key of a second set, as large and of the same law, with bits drawn anew.
    """

    beta: Annotated[float, Field(gt=0.0, lt=1.0)]
    bits: Annotated[int, Field(ge=1, le=16)] = 1
    pairs: Annotated[int, Field(ge=2, le=2**24)] = 4096
    keys: Annotated[int, Field(ge=2, le=2**26)] = 4096
    documents: Annotated[int, Field(ge=10, le=10**6)] = 256
    seed: Annotated[int, Field(ge=0)] = 0
    noise: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class SantaFe(Corpus):
    """Santa Fe process (Debowski): X_i = (K_i, Z_{K_i}), P(K = k) ~ k^(-1/beta), Z_k a fact drawn once a document.

    Tokens: the key (0 .. keys-1, as many again for noise), then its fact (the last 2^bits tokens), so n tokens are n/2
    pairs; p_k below is the share of all pairs that show key k of a fact. The keys are
    independent and tell nothing of each other; given the keys, two halves share exactly the facts of the keys seen
    in both, `bits` ln 2 nats each. A key is in a half of m = n/2 pairs with probability 1 - (1 - p_k)^m, the halves
    being independent, hence I(n;n) = bits ln 2 · sum_k (1 - (1 - p_k)^m)^2 = bits ln 2 · (2 V(m) - V(2m)) with
    V(m) = sum_k 1 - (1 - p_k)^m. It grows as n^beta with a constant of -bits ln(2)/2 (keys truncated: the same sums
    over the kept keys).
    """

    period = 2

    def __init__(self, settings: SantaFeSettings) -> None:
        self.settings = settings
        plain = {key: value for key, value in settings.plain().items() if key != "noise" or value}
        options = ",".join(f"{key}={value}" for key, value in plain.items())
        self.name = f"santa-fe:{options}"
        self.first_fact = settings.keys * (2 if settings.noise else 1)
        self.vocabulary = self.first_fact + 2**settings.bits
        weights = np.arange(1, settings.keys + 1, dtype=np.float64) ** (-1 / settings.beta)
        law = weights / weights.sum()
        self.key_probabilities = law * (1 - settings.noise)
        self._all_probabilities = np.concatenate([self.key_probabilities, law * settings.noise])[: self.first_fact]

    @property
    def fact_nats(self) -> float:
        """Nats of one fact."""
        return float(self.settings.bits * np.log(2))

    @property
    def fingerprint(self) -> str:
        """Hash of the settings, which fix every token."""
        return fingerprint(self.name)

    def write(self, writer: TokenWriter) -> None:
        """Draw every document from its own seed."""
        cumulative = np.cumsum(self.key_probabilities)
        for index in range(self.settings.documents):
            rng = np.random.default_rng([self.settings.seed, index])
            keys = np.searchsorted(cumulative, rng.random(self.settings.pairs) * cumulative[-1], side="right")
            seen, which = np.unique(keys, return_inverse=True)
            facts = rng.integers(0, 2**self.settings.bits, size=len(seen))[which]
            if self.settings.noise:
                noisy = rng.random(self.settings.pairs) < self.settings.noise
                keys = np.where(noisy, keys + self.settings.keys, keys)
                facts = np.where(noisy, rng.integers(0, 2**self.settings.bits, size=len(keys)), facts)
            writer.begin(f"document {index}")
            writer.add(np.stack([keys, self.first_fact + facts], axis=1).ravel())

    def information(self, n: int) -> float:
        """I(n;n) in nats between two neighbouring runs of n tokens (n even), exact."""
        if n % 2:
            raise ValueError(f"n must be even (key and bit), found {n}")
        return float((self._seen(n // 2) ** 2).sum() * self.fact_nats)

    def facts(self, n: int) -> float:
        """V: facts that n tokens (n even) show, on average, each counted once: what a state must hold."""
        return float(self._seen(n // 2).sum())

    def _seen(self, pairs: int) -> Floats:
        """[keys] probability that a key is among so many pairs."""
        seen: Floats = -np.expm1(pairs * np.log1p(-self.key_probabilities))
        return seen

    def bayes_nats(self, tokens: NDArray[np.int64]) -> Floats:
        """[b t] nats: loss of the exact Bayes predictor on windows [b t] that start with a key.

        A key costs -ln p_k always; its fact costs nothing when the key stood earlier in the window
        (another one than then is impossible: infinity), else bits ln 2; so always behind a key of the noise.
        """
        nats = np.empty(tokens.shape)
        keys = tokens[:, 0::2]
        nats[:, 0::2] = -np.log(self._all_probabilities)[keys]
        facts = tokens[:, 1::2]
        nats[:, 1::2] = self._fact_losses(keys[:, : facts.shape[1]], facts)
        return nats

    def judged(self, length: int) -> NDArray[np.bool_]:
        """[length] the positions of facts, every second one: of a key the past tells nothing."""
        return np.arange(length) % 2 == 1

    def _fact_losses(self, keys: NDArray[np.int64], facts: NDArray[np.int64]) -> Floats:
        """[b pairs] nats: in the order of keys, a fact is new, or the one that stood there before, or impossible."""
        order = np.argsort(keys, axis=1, kind="stable")
        keys, facts = (np.take_along_axis(rows, order, axis=1) for rows in (keys, facts))
        losses = np.full(keys.shape, self.fact_nats)
        same = (keys[:, 1:] == keys[:, :-1]) & (keys[:, 1:] < self.settings.keys)
        losses[:, 1:][same] = np.where(facts[:, 1:] == facts[:, :-1], 0.0, np.inf)[same]
        in_place = np.empty_like(losses)
        np.put_along_axis(in_place, order, losses, axis=1)
        return in_place
