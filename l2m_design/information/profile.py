"""Profile estimator: I(n;n) from the position-wise losses of one causal model.

For a stationary source with h_t = E[loss | t - 1 past tokens], I(n;n) = sum_{t<=n} h_t - sum_{n<t<=2n} h_t.
Its plain form subtracts the losses of different tokens. Here the same token is scored twice: with past
n + tau inside a long window, and with past tau in a second window that starts n later. Their difference is
the same expectation and the noise of the token itself cancels (a control variate; for the second half of
a window this is the paired form of the direct estimator). Short lengths are read at several places of each
window, since a single place would leave them the noisiest.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from l2m_design.corpus.windows import Windows
from l2m_design.estimates import Curve, Floats, curve_of_windows

if TYPE_CHECKING:
    from l2m_design.information.scores import Scorer

WINDOWS_A_BATCH = 8
SPOTS = 8


def profile_curve(
    windows: Windows,
    lengths: NDArray[np.int64],
    scorer: "Scorer",
    on_window: Callable[[], None] = lambda: None,
) -> tuple[Curve, Floats]:
    """I(n;n) by document from windows of 2 · max(lengths) tokens, and h_t [2 · max(lengths)] in nats."""
    nats = np.empty((len(windows), len(lengths)))
    total = np.zeros(windows.length)
    for begin in range(0, len(windows), WINDOWS_A_BATCH):
        rows = slice(begin, begin + WINDOWS_A_BATCH)
        tokens = windows.tokens(rows)
        long = scorer.nats(tokens)
        total += long.sum(axis=0)
        for column, n in enumerate(lengths.tolist()):
            nats[rows, column] = _paired(tokens, long, n, scorer)
        for _ in tokens:
            on_window()
    curve = curve_of_windows(lengths, nats, windows.document, f"profile ({scorer.name})")
    return curve, total / len(windows)


def spots(n: int, length: int) -> int:
    """Places at which I(n;n) is read in a window of `length` tokens."""
    return min(SPOTS, max(1, length // (8 * n)))


def tokens_a_window(lengths: NDArray[np.int64]) -> int:
    """Tokens scored for one window: about 3 times its length for lengths that double."""
    window = 2 * int(lengths[-1])
    return window + sum(n + 3 * n * (spots(n, window) - 1) for n in lengths.tolist())


def _paired(tokens: NDArray[np.int64], long: Floats, n: int, scorer: "Scorer") -> Floats:
    """[b] nats: loss of the second n tokens of each place without the first n, minus with them."""
    first = scorer.nats(tokens[:, n : 2 * n]).sum(axis=1) - long[:, n : 2 * n].sum(axis=1)
    count = spots(n, tokens.shape[1])
    if count == 1:
        return first
    stride = tokens.shape[1] // count // 2 * 2
    places = np.concatenate([tokens[:, k * stride : k * stride + 2 * n] for k in range(1, count)])
    with_past = scorer.nats(places)[:, n:].sum(axis=1)
    others = scorer.nats(places[:, n:]).sum(axis=1) - with_past
    return (first + others.reshape(count - 1, len(tokens)).sum(axis=0)) / count
