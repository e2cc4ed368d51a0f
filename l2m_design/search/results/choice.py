"""The choice: whose late loss is not worse than full attention's by more than delta; of those, the least state."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from l2m_design.estimates import Estimate

Losses = Mapping[int, Sequence[float]]  # by seed: late losses by document, nats a token


@dataclass(frozen=True)
class Difference:
    """Late loss minus full attention's, nats a token, paired over documents and seeds.

    error: its standard error, with what documents and what seeds vary; freedom: Student's degrees (Satterthwaite).
    """

    value: float
    error: float
    freedom: float
    seeds: int
    documents: int

    def bound(self, confidence: float) -> float:
        """The one-sided upper bound: the difference is smaller, with this confidence."""
        return self.value + float(stats.t.ppf(confidence, self.freedom)) * self.error

    def estimate(self, level: float = 0.95) -> Estimate:
        """With its two-sided interval."""
        half = float(stats.t.ppf(0.5 + level / 2, self.freedom)) * self.error
        return Estimate(self.value, self.value - half, self.value + half, level)

    def plain(self, level: float = 0.95) -> dict[str, Any] | None:
        """JSON-ready; none where nothing varies, so that nothing is known of the error."""
        if not math.isfinite(self.error):
            return None
        return self.estimate(level).plain() | {"standard_error": self.error, "seeds": self.seeds}


def difference(ours: Losses, theirs: Losses) -> Difference | None:
    """Ours - theirs over the same documents and seeds; with one seed only documents can vary.

    None where they have no seed in common.
    """
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    seeds = len(shared)
    table = np.array([np.subtract(ours[seed], theirs[seed]) for seed in shared], dtype=float)
    documents = table.shape[1]
    by_document, by_seed = table.mean(axis=0), table.mean(axis=1)
    parts = []
    if documents > 1:
        parts.append((float(by_document.var(ddof=1)) / documents, documents - 1))
    if seeds > 1:
        parts.append((float(by_seed.var(ddof=1)) / seeds, seeds - 1))
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return Difference(float(table.mean()), 0.0 if parts else math.inf, 1.0, seeds, documents)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    return Difference(float(table.mean()), math.sqrt(variance), freedom, seeds, documents)


@dataclass(frozen=True)
class Contender:
    """Who may be chosen: name, losses on validation documents by seed, state bytes at the target, feasible or not."""

    name: str
    losses: Losses
    state_bytes: int
    feasible: bool

    @property
    def loss(self) -> float:
        """Late loss, nats a token, over seeds and documents."""
        return float(np.mean([np.mean(losses) for losses in self.losses.values()]))


@dataclass(frozen=True)
class Choice:
    """chosen: a contender's name or none; bounds: by name, the upper bound of the difference, nats a token.

    said: why, and where nothing smaller than full attention qualifies, what would.
    """

    chosen: str | None
    differences: dict[str, Difference]
    bounds: dict[str, float]
    said: list[str]


def choose(
    contenders: list[Contender], reference: Contender | None, delta: float, confidence: float, budget: str
) -> Choice:
    """The least state among the feasible whose late loss is not inferior; of equal states, the lower loss.

    reference: full attention, trained alike. budget: what a larger budget would be, in words.
    """
    if reference is None:
        return Choice(
            None, {}, {}, ["Nothing can be chosen: full attention, the reference, was not trained to the end."]
        )
    paired = {one.name: difference(one.losses, reference.losses) for one in contenders}
    differences = {name: found for name, found in paired.items() if found is not None}
    contenders = [one for one in contenders if one.name in differences]
    bounds = {name: 0.0 if name == reference.name else found.bound(confidence) for name, found in differences.items()}
    passed = [one for one in contenders if one.feasible and bounds[one.name] <= delta]
    ranked = sorted(passed, key=lambda one: (one.state_bytes, one.loss))
    rule = f"late loss at most full attention's + {delta:g} nats a token with {confidence:.0%} confidence"
    if not any(one.feasible for one in contenders):
        return Choice(None, differences, bounds, ["Nothing qualifies: no trained candidate meets the condition."])
    if ranked and ranked[0].state_bytes < reference.state_bytes:
        smaller = f"The least state of {len(passed)} that qualify ({rule})."
        return Choice(ranked[0].name, differences, bounds, [smaller])
    said = [f"Nothing with less state than full attention qualifies ({rule}).", *_what_would(
        contenders, reference, differences, bounds, delta, budget
    )]  # fmt: skip
    return Choice(ranked[0].name if ranked else None, differences, bounds, said)


def _what_would(
    contenders: list[Contender],
    reference: Contender,
    differences: dict[str, Difference],
    bounds: dict[str, float],
    delta: float,
    budget: str,
) -> list[str]:
    """The least delta that would let a smaller state in, and whether more seeds or a longer training might."""
    smaller = [one for one in contenders if one.feasible and one.state_bytes < reference.state_bytes]
    if not smaller:
        return ["No feasible candidate has less state: a wider space or more trials are needed."]
    nearest = min(smaller, key=lambda one: bounds[one.name])
    least = bounds[nearest.name]
    known = math.isfinite(least)
    said = [f"A delta of {math.ceil(least * 1000) / 1000:g} would let {nearest.name} in."] if known else []
    undecided = [one.name for one in smaller if differences[one.name].value <= delta]
    if undecided:
        said.append(f"Undecided, more seeds or documents may let in: {', '.join(undecided)}.")
    else:
        said.append(f"All smaller states are behind at this budget; {budget} may change that.")
    return said
