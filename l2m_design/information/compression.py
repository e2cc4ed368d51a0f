"""Compression estimator: C(X) + C(Y) - C(XY) with a universal coder (PPMd), model-free.

It counts the cost of learning the language twice and once, so the amount is over-stated and its exponent
bounds the source's from above (Debowski's work on Hilberg's conjecture). Coder: PPMd, variant I (PPMd8).
"""

import math

import numpy as np
import pyppmd

from l2m_design.estimates import Curve
from l2m_design.information.places import Places
from l2m_design.information.profile import Advance

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


def compression_curve(places: Places, vocabulary: int, advance: Advance = lambda windows: None) -> Curve:
    """I(n;n) by document. Tokens are coded as bytes, or as wider little-endian numbers."""
    dtype = np.min_scalar_type(vocabulary - 1).newbyteorder("<")
    tokens, nats, window = places.documents.tokens, np.empty(len(places)), -1
    for index, (begin, n) in enumerate(zip(places.begin.tolist(), places.n.tolist(), strict=True)):
        x, y = (np.asarray(tokens[at : at + n]).astype(dtype).tobytes() for at in (begin, begin + n))
        nats[index] = halves_nats(x, y)
        if places.window[index] != window:
            window = int(places.window[index])
            advance(1)
    return places.curve(nats, "compression")
