"""What the recall tasks have in common: one document is one window, and its Bayes loss is known at every token."""

from abc import abstractmethod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.tokens import TokenWriter
from l2m_design.estimates import Floats
from l2m_design.settings import Values, fingerprint

Tokens = NDArray[np.int64]
Mask = NDArray[np.bool_]
Count = Annotated[int, Field(ge=1, le=2**12)]
Kinds = Annotated[int, Field(ge=2, le=2**12)]


class TaskSettings(Values):
    """length: tokens of a document behind its start token. documents; seed."""

    length: Annotated[int, Field(ge=8, le=2**16)] = 512
    documents: Annotated[int, Field(ge=32, le=10**6)] = 8192
    seed: Annotated[int, Field(ge=0)] = 0


class RecallTask(Corpus):
    """Documents of a start token and `length` tokens, each an independent draw: fits a recipe of that length.

    A document's law depends on the position in it, so windows start at the document's start (period) and no I(n;n) of
    neighbouring runs is defined: these sources have no `information`.
    """

    def __init__(self, kind: str, settings: TaskSettings, kinds: int) -> None:
        """kinds: of tokens besides the start token, which is the last one."""
        self.name = f"{kind}:" + ",".join(f"{key}={value}" for key, value in settings.plain().items())
        self.start, self.vocabulary = kinds, kinds + 1
        self.period = settings.length + 1
        self._drawn = settings

    @property
    def fingerprint(self) -> str:
        """Hash of the settings, which fix every token."""
        return fingerprint(self.name)

    def write(self, writer: TokenWriter) -> None:
        """Draw every document from its own seed."""
        for index in range(self._drawn.documents):
            writer.begin(f"document {index}")
            writer.add([self.start])
            writer.add(self.draw(np.random.default_rng([self._drawn.seed, index])))

    def bayes_nats(self, tokens: Tokens) -> Floats:
        """[b t] nats: loss of the exact Bayes predictor on the first t tokens of documents [b t].

        The start token costs nothing, a wrong answer is impossible: infinity. Raises ValueError for windows that start
        elsewhere.
        """
        return np.concatenate([np.zeros((len(tokens), 1)), self.nats_of(self._behind_start(tokens))], axis=1)

    def judged_in(self, tokens: Tokens) -> Mask:
        """[b t] the answers: tokens that the document so far determines, but that cannot be known without it."""
        return np.concatenate(
            [np.zeros((len(tokens), 1), dtype=bool), self.answers(self._behind_start(tokens))], axis=1
        )

    def _behind_start(self, tokens: Tokens) -> Tokens:
        if not (tokens[:, 0] == self.start).all():
            raise ValueError(f"windows of {self.name} must start with token {self.start}, like its documents")
        return np.asarray(tokens[:, 1:], dtype=np.int64)

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> NDArray[Any]:
        """[length] tokens of one document behind its start token."""

    @abstractmethod
    def nats_of(self, tokens: Tokens) -> Floats:
        """[b t] nats of the exact Bayes predictor for the first t tokens behind the start token."""

    @abstractmethod
    def answers(self, tokens: Tokens) -> Mask:
        """[b t] which of the first t tokens behind the start token are answers."""
