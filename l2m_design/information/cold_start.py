"""Cold start: what a model says of a text's first two tokens, with nothing before them, and the published remedy."""

import numpy as np

from l2m_design.errors import BadInput
from l2m_design.estimates import Floats
from l2m_design.information.entropy import grassberger
from l2m_design.information.split_points import SplitPoints

COUNTED_PAIRS = 1 << 22


def cold_start_shift(points: SplitPoints, model_nats: float) -> float:
    """Nats that the published correction adds at every length: a model's first two tokens are scored badly.

    Their term, model_nats on average, becomes (model_nats + 4 H)/5 with H the entropy of the documents' pairs of
    tokens; the weights 4:1 are the authors', without a reason given.
    """
    return 0.8 * (pair_entropy(points) - model_nats)


def pair_entropy(points: SplitPoints) -> float:
    """Entropy of two neighbouring tokens in nats, from the documents that hold points (at most COUNTED_PAIRS)."""
    if points.documents.tokens.dtype.kind == "f":
        raise BadInput("bigram_correction: works for tokens only, not for real values")
    left, codes = COUNTED_PAIRS, []
    for document in np.unique(points.document).tolist():
        tokens = np.asarray(points.documents[document][: left + 1], dtype=np.int64)
        codes.append(tokens[:-1] * (1 << 31) + tokens[1:])
        left -= len(tokens)
        if left <= 0:
            break
    counts: Floats = np.unique(np.concatenate(codes), return_counts=True)[1].astype(np.float64)
    return grassberger(counts)
