"""The oracle: the exact Bayes predictor of a synthetic source."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.base import Corpus
from l2m_design.corpus.synthetic import SOURCES, is_exact
from l2m_design.errors import BadInput
from l2m_design.estimates import Floats
from l2m_design.information.scores.base import nats_after_plainly


class OracleScorer:
    """Scores windows by the source's own law; for a continuous source windows of real values."""

    exact = True

    name = "oracle"
    context: int | None = None
    batch_tokens = 1 << 20

    def __init__(self, corpus: Corpus) -> None:
        if not is_exact(corpus):
            raise BadInput(f"{corpus.name}: `model` oracle needs a synthetic source: {', '.join(SOURCES)}")
        self._source: Any = corpus
        self.fingerprint = f"oracle {corpus.fingerprint}"

    def nats(self, tokens: NDArray[np.int64]) -> Floats:
        """[b t] nats of tokens (or values) [b t]."""
        return self._source.bayes_nats(tokens)

    def nats_after(self, past: NDArray[np.int64], tokens: list[NDArray[np.int64]], cuts: list[int]) -> list[Floats]:
        """[b t] nats behind each cut of the past."""
        return nats_after_plainly(self, past, tokens, cuts)
