"""Excess: what a model loses above the exact Bayes predictor of a synthetic source."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus import Corpus
from l2m_design.corpus.synthetic import is_exact_on_windows
from l2m_design.corpus.windows import Windows
from l2m_design.estimates import Floats
from l2m_design.training.result import Losses, by_document

PARTS = 8


@dataclass(frozen=True)
class Excess:
    """over: [windows, tokens of a window] nats above Bayes. judged: [tokens of a window] which count; document:
    [windows].
    """

    over: Floats
    judged: NDArray[np.bool_]
    document: NDArray[np.int64]

    def late_by_document(self) -> Floats:
        """[documents] mean over the judged tokens of the second half (as in Losses.late), nats a judged token."""
        half = self.over.shape[1] // 2 + 1
        return by_document(self.over[:, half:][:, self.judged[half:]].mean(axis=1), self.document)

    def late(self) -> float:
        """Mean of late_by_document, every document counting alike."""
        return float(self.late_by_document().mean())

    def captured(self, corpus: Any) -> float:
        """I_q(n;n) in nats, n half the window: the source's exact I(n;n), and what the model is off early minus late.

        As Losses.captured in expectation, without the chance of which tokens were drawn.
        """
        n = self.over.shape[1] // 4 * 2
        over = self.over.mean(axis=0)
        return float(corpus.information(n) + over[:n].sum() - over[n : 2 * n].sum())

    def by_position(self) -> Floats:
        """[PARTS] means over as many equal runs of the judged tokens, from a window's begin to its end."""
        parts = np.array_split(self.over[:, self.judged].mean(axis=0), PARTS)
        return np.array([part.mean() for part in parts])


def excess(losses: Losses, windows: Windows, corpus: Corpus) -> Excess | None:
    """Losses of the first windows against the corpus's own exact ones; none where it does not know them."""
    if not is_exact_on_windows(corpus):
        return None
    exact: Any = corpus
    tokens = windows.tokens(slice(0, len(losses.nats)))
    return Excess(losses.nats - exact.bayes_nats(tokens), corpus.judged(tokens.shape[1]), losses.document)
