"""The simplest exact sources: a Markov chain (constant), independent tokens (nothing), a copy (everything)."""

from abc import abstractmethod
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.estimates import Floats
from l2m_design.settings import Values, fingerprint

Vocabulary = Annotated[int, Field(ge=2, le=2**16)]


class _Drawn(Values):
    """What all of them have: tokens a document, documents, seed."""

    length: Annotated[int, Field(ge=32, le=2**24)] = 4096
    documents: Annotated[int, Field(ge=10, le=10**6)] = 256
    seed: Annotated[int, Field(ge=0)] = 0


class MarkovSettings(_Drawn):
    """stay: probability of the same state again; states."""

    stay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    states: Vocabulary = 2


class IidSettings(_Drawn):
    """Tokens drawn uniformly from a vocabulary."""

    vocabulary: Vocabulary = 256


class CopySettings(Values):
    """Halves of `shortest` · 4^k tokens, k < levels; documents of each."""

    vocabulary: Vocabulary = 256
    shortest: Annotated[int, Field(ge=2, le=1024)] = 16
    levels: Annotated[int, Field(ge=1, le=8)] = 5
    documents: Annotated[int, Field(ge=10, le=10**6)] = 64
    seed: Annotated[int, Field(ge=0)] = 0


class _Simple(Corpus):
    """A source that its settings fix."""

    def __init__(self, kind: str, settings: Values, vocabulary: int) -> None:
        self.name = f"{kind}:" + ",".join(f"{key}={value}" for key, value in settings.plain().items())
        self.vocabulary = vocabulary

    @property
    def fingerprint(self) -> str:
        """Hash of the settings, which fix every token."""
        return fingerprint(self.name)

    @abstractmethod
    def information(self, n: int) -> float:
        """I(n;n) in nats, exact."""

    @abstractmethod
    def bayes_nats(self, tokens: NDArray[np.int64]) -> Floats:
        """[b t] nats: loss of the exact Bayes predictor on windows [b t]."""


class Markov(_Simple):
    """Symmetric chain: the same state with probability `stay`, else one of the others, all alike.

    Given the last token of X, Y does not depend on the rest of X, so for every n >= 1 I(n;n) = I(W_n; W_{n+1}) =
    ln k + stay ln stay + (1 - stay) ln((1 - stay)/(k - 1)): a constant, whatever the length.
    """

    def __init__(self, settings: MarkovSettings) -> None:
        super().__init__("markov", settings, settings.states)
        self.settings = settings
        other = (1 - settings.stay) / (settings.states - 1)
        self.nats_same, self.nats_other = -np.log(settings.stay), -np.log(other)

    def write(self, writer: TokenWriter) -> None:
        """Draw every document from its own seed: jumps of 1 .. k-1 states, summed modulo k."""
        states = self.settings.states
        for index in range(self.settings.documents):
            rng = np.random.default_rng([self.settings.seed, index])
            jumps = rng.integers(1, states, size=self.settings.length)
            jumps[rng.random(self.settings.length) < self.settings.stay] = 0
            jumps[0] = rng.integers(states)
            writer.begin(f"document {index}")
            writer.add(np.cumsum(jumps) % states)

    def information(self, n: int) -> float:
        """ln k less the entropy of one step."""
        stay = self.settings.stay
        return float(np.log(self.settings.states) - stay * self.nats_same - (1 - stay) * self.nats_other)

    def bayes_nats(self, tokens: NDArray[np.int64]) -> Floats:
        """ln k for the first token, then the step's."""
        nats = np.full(tokens.shape, np.log(self.settings.states))
        nats[:, 1:] = np.where(tokens[:, 1:] == tokens[:, :-1], self.nats_same, self.nats_other)
        return nats


class Iid(_Simple):
    """Independent uniform tokens: X tells nothing of Y, I(n;n) = 0, and every loss is ln V."""

    def __init__(self, settings: IidSettings) -> None:
        super().__init__("iid", settings, settings.vocabulary)
        self.settings = settings

    def write(self, writer: TokenWriter) -> None:
        """Draw every document from its own seed."""
        for index in range(self.settings.documents):
            rng = np.random.default_rng([self.settings.seed, index])
            writer.begin(f"document {index}")
            writer.add(rng.integers(0, self.vocabulary, size=self.settings.length))

    def information(self, n: int) -> float:
        """Nothing."""
        return 0.0

    def bayes_nats(self, tokens: NDArray[np.int64]) -> Floats:
        """ln V everywhere."""
        return np.full(tokens.shape, np.log(self.vocabulary))


class Copy(_Simple):
    """Documents X X: X of n independent uniform tokens, then X again. I(n;n) = H(X) = n ln V, a volume law, beta = 1.

    n = shortest · 4^k, so that a window's length tells whether it is a document (2n) or a half of a longer one (n).
    """

    whole = True

    def __init__(self, settings: CopySettings) -> None:
        super().__init__("copy", settings, settings.vocabulary)
        self.settings = settings
        self.halves = [settings.shortest * 4**level for level in range(settings.levels)]

    def write(self, writer: TokenWriter) -> None:
        """Draw every document from its own seed."""
        for n in self.halves:
            for index in range(self.settings.documents):
                rng = np.random.default_rng([self.settings.seed, n, index])
                writer.begin(f"document {n}.{index}")
                writer.add(np.tile(rng.integers(0, self.vocabulary, size=n), 2))

    def information(self, n: int) -> float:
        """n ln V."""
        return float(n * np.log(self.vocabulary))

    def bayes_nats(self, tokens: NDArray[np.int64]) -> Floats:
        """ln V for what is new; nothing for the second half of a whole document."""
        nats = np.full(tokens.shape, np.log(self.vocabulary))
        half = tokens.shape[1] // 2
        if half in self.halves:
            nats[:, half:] = np.where(tokens[:, half:] == tokens[:, :half], 0.0, np.inf)
        return nats
