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
    """over: [windows, tokens of a window] nats above Bayes. judged: which count, of each window or [tokens of a window]
    of all alike. document: [windows].
    """

    over: Floats
    judged: NDArray[np.bool_]
    document: NDArray[np.int64]

    def late_by_document(self) -> Floats:
        """[documents] mean over the judged tokens of the second half (as in Losses.late), nats per judged token.

        Of windows that have such tokens; documents without one are left out.
        """
        half = self.over.shape[1] // 2 + 1
        late = self._judged[:, half:]
        counts = late.sum(axis=1)
        some = counts > 0
        return by_document(_sums(self.over[:, half:], late, axis=1)[some] / counts[some], self.document[some])

    def late(self) -> float:
        """Mean of late_by_document, every document counting alike."""
        return float(self.late_by_document().mean())

    def captured(self, corpus: Any) -> float:
        """I_q(n;n) in nats, n half the window: the source's exact I(n;n), and what the model is off early minus late.

        As Losses.captured in expectation, without the chance of which tokens were drawn. Of sources that know their
        information alone.
        """
        n = self.over.shape[1] // 4 * 2
        over = self.over.mean(axis=0)
        return float(corpus.information(n) + over[:n].sum() - over[n : 2 * n].sum())

    def by_position(self) -> Floats:
        """[PARTS] means over as many equal runs of the judged places, from a window's begin to its end.

        A place is judged where it is in any window, and counts by its mean over those. Fewer means where there are
        fewer places than PARTS.
        """
        counts = self._judged.sum(axis=0)
        places = counts > 0
        means = _sums(self.over[:, places], self._judged[:, places], axis=0) / counts[places]
        return np.array([part.mean() for part in np.array_split(means, min(PARTS, len(means)))])

    @property
    def _judged(self) -> NDArray[np.bool_]:
        return np.broadcast_to(self.judged, self.over.shape)


def _sums(over: Floats, judged: NDArray[np.bool_], axis: int) -> Floats:
    """Sums of the judged ones along an axis, added up token by token whatever stands between them."""
    sums: Floats = np.asfortranarray(np.where(judged, over, 0.0)).sum(axis=axis)
    return sums


def excess(losses: Losses, windows: Windows, corpus: Corpus) -> Excess | None:
    """Losses of the first windows against the corpus's own exact ones.

    None where the corpus does not know them, or where no window has a judged token in its second half.
    """
    if not is_exact_on_windows(corpus):
        return None
    exact: Any = corpus
    tokens = windows.tokens(slice(0, len(losses.nats)))
    judged = corpus.judged_in(tokens)
    if not judged[:, tokens.shape[1] // 2 + 1 :].any():
        return None
    return Excess(losses.nats - exact.bayes_nats(tokens), judged, losses.document)
