"""Compression estimator: C(X) + C(Y) - C(XY) with a universal coder (PPMd), model-free.

It counts the cost of learning the language twice and once, so the amount is over-stated and its exponent
bounds the source's from above (Debowski's work on Hilberg's conjecture). Coder: PPMd, variant I (PPMd8).
"""

import math
from collections.abc import Callable

import numpy as np
import pyppmd
from numpy.typing import NDArray

from l2m_design.corpus.windows import Windows
from l2m_design.estimates import Curve, curve_of_windows

SPOTS = 8
ORDER = 6
MEMORY = 1 << 24


def code_nats(data: bytes) -> float:
    """Length of the PPMd code of `data` in nats, beyond that of nothing."""
    if not data:
        return 0.0
    memory = min(MEMORY, max(1 << 20, 64 * len(data)))
    coded = len(pyppmd.compress(data, max_order=ORDER, mem_size=memory)) - _EMPTY
    return 8 * coded * math.log(2)


_EMPTY = len(pyppmd.compress(b"", max_order=ORDER, mem_size=1 << 20))


def halves_nats(x: bytes, y: bytes) -> float:
    """C(X) + C(Y) - C(XY) in nats."""
    return code_nats(x) + code_nats(y) - code_nats(x + y)


def compression_curve(
    windows: Windows,
    lengths: NDArray[np.int64],
    vocabulary: int,
    rng: np.random.Generator,
    on_window: Callable[[], None] = lambda: None,
    period: int = 1,
) -> Curve:
    """I(n;n) by document from windows of 2 · max(lengths) tokens, up to SPOTS places in each for small n.

    All lengths are read inside the same windows, so that every length sees the same documents.
    """
    dtype = np.min_scalar_type(vocabulary - 1).newbyteorder("<")
    nats = np.full((len(windows), len(lengths)), np.nan)
    for row in range(len(windows)):
        data = windows.tokens(slice(row, row + 1))[0].astype(dtype)
        for column, n in enumerate(lengths.tolist()):
            spots = min(SPOTS, max(1, data.size // (4 * n)))
            starts = rng.integers(0, (data.size - 2 * n) // period + 1, size=spots) * period
            found = [halves_nats(data[s : s + n].tobytes(), data[s + n : s + 2 * n].tobytes()) for s in starts]
            nats[row, column] = float(np.mean(found))
        on_window()
    return curve_of_windows(lengths, nats, windows.document, "compression")
