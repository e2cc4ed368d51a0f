"""Importances: the share of the variance of the loss between trials that each choice of the space explains."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l2m_design.estimates import Floats
from l2m_design.search.record import Record

SHUFFLES = 400
FEWEST = 8  # trials


@dataclass(frozen=True)
class Importance:
    """A choice of the space: the share of the variance of the loss between its values, and the share by chance.

    share: omega squared (Hays 1963), 0 to 1. chance: the 95th percentile of the share when losses are shuffled over
    trials. trials: how many were compared.
    """

    choice: str
    share: float
    chance: float
    trials: int


def importances(records: Sequence[Record]) -> list[Importance]:
    """Every choice with at least two values, the largest share first; none if there are fewer than 8 trials.

    The loss is the one at the first rung where trials were pruned, which all of them reached, else the late loss.
    Baselines do not count: they were not drawn from the space.
    """
    own = [r for r in records if r.design is None and r.copy_of is None and r.params]
    pruned = any(r.state == "pruned" and r.rungs for r in own)
    losses = {r.number: r.rungs[0][1] if pruned else r.late_loss for r in own if r.rungs or not pruned}
    known = [(r, loss) for r in own if (loss := losses.get(r.number)) is not None]
    if len(known) < FEWEST:
        return []
    y = np.array([loss for _, loss in known])
    rng = np.random.default_rng(0)
    shuffled = np.array([y, *(rng.permutation(y) for _ in range(SHUFFLES))])
    found = []
    for name in dict.fromkeys(name for r, _ in known for name in r.params):
        values = [str(r.params.get(name)) for r, _ in known]
        groups = sorted(set(values))
        if 2 <= len(groups) < len(known):
            one_hot = np.array([[value == group for group in groups] for value in values], dtype=np.float64)
            shares = _omega_squared(shuffled, one_hot)
            found.append(Importance(name, float(shares[0]), float(np.quantile(shares[1:], 0.95)), len(known)))
    return sorted(found, key=lambda each: -each.share)


def _omega_squared(y: Floats, one_hot: Floats) -> Floats:
    """Of losses y [shuffles, trials] by groups one_hot [trials, groups]; below 0 is 0."""
    count, groups = one_hot.shape
    total = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    between = ((y @ one_hot) ** 2 / one_hot.sum(axis=0)).sum(axis=1) - count * y.mean(axis=1) ** 2
    within = np.maximum(total - between, 0.0) / (count - groups)
    share: Floats = np.maximum(0.0, between - (groups - 1) * within) / np.maximum(total + within, 1e-12)
    return share
