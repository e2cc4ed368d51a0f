"""Two-point information: I2(d) between single tokens at distance d, which decays; it says nothing about beta.

I2(d) = 2 H1 - H2(d), entropies by Grassberger's formula, H1 and H2 from the same pairs, and a fit of A d^-alpha + C.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from l2m_design.corpus.base import Documents
from l2m_design.errors import BadInput
from l2m_design.estimates import Curve, Estimate, Floats, jackknife_rows
from l2m_design.information.entropy import grassberger
from l2m_design.settings import Json

GROUPS = 20
PAIRS = 1 << 20
DRAWS = 200
SURE = 4.0


@dataclass(frozen=True)
class TwoPoint:
    """I2(d) in nats by distance, one row a group of documents (jackknife), and its fitted law.

    alpha: None where I2 does not fall by more than SURE standard errors.
    """

    curve: Curve
    interval: list[Estimate]
    prefactor: float
    alpha: Estimate | None
    constant: float
    documents: int
    pairs: int
    seconds: float

    def plain(self) -> Json:
        """JSON-ready."""
        return {
            "distances": self.curve.lengths.tolist(),
            "nats": [e.value for e in self.interval],
            "low": [e.low for e in self.interval],
            "high": [e.high for e in self.interval],
            "alpha": self.alpha.plain() if self.alpha else None,
            "prefactor_nats": self.prefactor,
            "constant_nats": self.constant,
            "documents": self.documents,
            "pairs": self.pairs,
            "seconds": round(self.seconds, 2),
        }


def two_point(
    documents: Documents,
    vocabulary: int,
    longest: int,
    level: float,
    rng: np.random.Generator,
    channels: int = 1,
) -> TwoPoint:
    """I2 at distances 1, 2, 4 .. longest, in time steps of `channels` tokens, between tokens of one channel.

    Raises BadInput when the documents are too few or too short.
    """
    began = time.perf_counter()
    distances = 2 ** np.arange(int(np.log2(longest)) + 1)
    place, group = _sampled(documents, int(distances[-1]) * channels, rng)
    tokens = documents.tokens
    whole, without = np.empty(len(distances)), np.empty((GROUPS, len(distances)))
    first = np.asarray(tokens[place], dtype=np.int64)
    for column, d in enumerate(distances.tolist()):
        second = np.asarray(tokens[place + d * channels], dtype=np.int64)
        whole[column] = _information(first, second, vocabulary)
        for g in range(GROUPS):
            keep = group != g
            without[g, column] = _information(first[keep], second[keep], vocabulary)
    rows = jackknife_rows(whole, without)
    curve = Curve(distances, rows, "two-point", unit="groups of documents")
    interval = curve.interval(10 * DRAWS, level, rng)
    draws = np.array([_fit(distances, row) for row in curve.resampled(DRAWS, rng)])
    prefactor, exponent, constant = _fit(distances, curve.mean())
    fall = rows[:, 0] - rows[:, -1]
    decays = fall.mean() > SURE * fall.std(ddof=1) / np.sqrt(GROUPS)
    return TwoPoint(
        curve=curve,
        interval=interval,
        prefactor=prefactor,
        alpha=Estimate.of_draws(exponent, draws[:, 1], level) if decays else None,
        constant=constant,
        documents=len(documents),
        pairs=len(place),
        seconds=time.perf_counter() - began,
    )


def _sampled(documents: Documents, reach: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """SplitPoints of first tokens, at most PAIRS, each with `reach` tokens behind it, and the group of each."""
    room = np.maximum(documents.lengths - reach, 0)
    ends = np.cumsum(room)
    if not ends.size or ends[-1] < GROUPS:
        raise BadInput(f"two-point: no document is longer than {reach} tokens")
    picked = np.sort(rng.choice(ends[-1], size=min(PAIRS, int(ends[-1])), replace=False, shuffle=False))
    document = np.searchsorted(ends, picked, side="right")
    place = documents.spans[document, 0] + picked - (ends[document] - room[document])
    if (room > 0).sum() >= 2 * GROUPS:
        return place, document % GROUPS
    return place, np.arange(len(place)) * GROUPS // len(place)


def _information(first: NDArray[np.int64], second: NDArray[np.int64], vocabulary: int) -> float:
    """H(first) + H(second) - H(both) in nats."""
    joint = first * vocabulary + second
    if vocabulary**2 <= 1 << 20:
        pairs = np.bincount(joint, minlength=vocabulary**2)
    else:
        pairs = np.unique(joint, return_counts=True)[1]
    singles = (np.bincount(tokens, minlength=vocabulary) for tokens in (first, second))
    return sum(grassberger(counts) for counts in singles) - grassberger(pairs)


def _fit(distances: NDArray[np.int64], nats: Floats) -> tuple[float, float, float]:
    """A, alpha, C of A d^-alpha + C, least squares of relative errors above a floor."""
    scale = np.abs(nats) + 0.02 * float(np.abs(nats).max()) + 1e-12
    logs = np.log(distances)

    def miss(parameters: Floats) -> Floats:
        found: Floats = (np.exp(parameters[0] - parameters[1] * logs) + parameters[2] - nats) / scale
        return found

    start = [np.log(max(float(nats[0]), 1e-9)), 1.0, 0.0]
    solved = least_squares(miss, start, bounds=([-50, 0.01, -np.inf], [50, 8.0, np.inf]))
    return float(np.exp(solved.x[0])), float(solved.x[1]), float(solved.x[2])
