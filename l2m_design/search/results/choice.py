"""The choice: of the models that are not worse than the reference by more than delta, the one with the least state.

One seed and the validation documents pick the reference. Then each smaller model is compared with it on test documents
and on seeds that picked nothing: a test of non-inferiority of the late loss and of the gain from far context (both must
pass, so the larger of the two p-values counts), corrected for the number of models by Holm's procedure, which holds
however the models are related and loses less power than a bound over all at once. A model counts as worse only where
that is shown at a level shared by all models and both parts (Bonferroni).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import stats

from l2m_design.search.results.paired import Difference, Losses, difference, less

BEST, FULL = "best", "full attention"
Verdict = Literal["confirmed", "not confirmed", "undecided"]
MOST_NEEDED = 1000


@dataclass(frozen=True)
class Contender:
    """A trained model that may be chosen.

    picked_by: late loss, nats a token, on validation documents by the first seed; none where there is no such run.
    losses: on documents that confirm, by seed. cut: of the same with the past cut to the choice's context, empty where
    it was not measured. state_bytes: at the target length. feasible: does it meet what is enforced of the condition?
    recall_bits: late excess over Bayes on the recall source, bits a judged token, where it was asked for.
    """

    name: str
    picked_by: float | None
    losses: Losses
    state_bytes: int
    feasible: bool
    cut: Losses = field(default_factory=dict)
    recall_bits: float | None = None

    @property
    def loss(self) -> float:
        """Late loss, nats a token, over seeds and documents that confirm."""
        return float(np.mean([np.mean(losses) for losses in self.losses.values()]))


@dataclass(frozen=True)
class Rule:
    """delta: nats a token that may be lost. confidence: of all tests together. confirming: are there fresh seeds (else
    nothing is confirmed)? recall: most bits over Bayes, if any. budget: what a larger one would be, in words.
    """

    delta: float
    confidence: float
    confirming: bool = True
    recall: float | None = None
    budget: str = "a larger budget"

    @property
    def fewest_seeds(self) -> int:
        """Seeds without which nothing is known of how much seeds vary."""
        return 2 if self.confirming else 1


@dataclass(frozen=True)
class Comparison:
    """A model beside the reference: late loss, and the reference's gain from far context less its own; nats a token.

    incomplete: the gain was measured for the reference and not for this model.
    """

    loss: Difference
    lost_gain: Difference | None
    incomplete: bool = False

    @property
    def parts(self) -> dict[str, Difference]:
        """What was compared, by name."""
        gain = {"gain from far context": self.lost_gain} if self.lost_gain else {}
        return {"late loss": self.loss} | gain

    def p(self, rule: Rule) -> float:
        """The p-value against "worse by more than delta in either"; 1 where too little is known."""
        if self.incomplete or self.loss.seeds < rule.fewest_seeds:
            return 1.0
        return max(part.p_at_most(rule.delta) for part in self.parts.values())

    def worse(self, rule: Rule, tests: int) -> bool:
        """Is it shown that either is worse by more than delta, when `tests` models are asked?"""
        if self.loss.seeds < rule.fewest_seeds:
            return False
        level = (1 - rule.confidence) / (2 * tests)
        known = [part for part in self.parts.values() if math.isfinite(part.error)]
        return any(1 - part.p_at_most(rule.delta) < level for part in known)


@dataclass(frozen=True)
class Choice:
    """chosen: a contender's name or none. comparisons: by name, to the reference. tested: names of those that could be
    chosen in its place; confirmed, worse: of those that are shown to keep up, and of those that are shown not to.
    reasons: why, and what would decide, in sentences.
    """

    chosen: str | None
    reference: str | None
    verdict: Verdict
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    tested: list[str] = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)
    worse: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def holm(p_values: dict[str, float], confidence: float) -> list[str]:
    """Whose hypotheses are rejected by Holm's procedure at level 1 - confidence, all of them together."""
    rejected: list[str] = []
    for index, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if p_values[name] > (1 - confidence) / (len(p_values) - index):
            break
        rejected.append(name)
    return rejected


def choose(contenders: Sequence[Contender], reference: Contender | None, rule: Rule) -> Choice:
    """The least state among the feasible that are confirmed, of equal states the lower loss; else the reference itself
    where it may be chosen; else the likeliest of those that are not shown to be worse.
    """
    if reference is None:
        return Choice(
            None, None, "undecided", reasons=["Nothing can be chosen: the reference was not trained to the end."]
        )
    compared = {one.name: found for one in contenders if (found := compare(one, reference)) is not None}
    able = [one for one in contenders if one.name in compared and one.feasible and _recalls(one, rule)]
    if not able:
        why = "no trained candidate meets the condition"
        if any(one.feasible for one in contenders) and rule.recall is not None:
            why = f"none that meets the condition is within {rule.recall:g} bits of Bayes on the recall source"
        return Choice(None, reference.name, "undecided", compared, reasons=[f"Nothing qualifies: {why}."])
    itself = next((one for one in able if one.name == reference.name), None)
    rivals = [one for one in able if one is not itself and (not itself or one.state_bytes < itself.state_bytes)]
    confirmed = holm({one.name: compared[one.name].p(rule) for one in rivals}, rule.confidence)
    worse = [one.name for one in rivals if compared[one.name].worse(rule, len(rivals))]
    chosen = _least([one for one in rivals if one.name in confirmed]) or itself
    chosen = chosen or _likeliest([one for one in rivals if one.name not in worse] or rivals, reference, rule)
    smaller = [one.name for one in rivals if one.state_bytes < chosen.state_bytes and one.name not in confirmed]
    open_ = [name for name in smaller if name not in worse]
    verdict: Verdict = "undecided"
    if rule.confirming and (chosen.name in confirmed or (chosen is itself and not open_)):
        verdict = "confirmed"
    elif rule.confirming and chosen.name in worse:
        verdict = "not confirmed"
    reasons = _reasons(chosen, itself, rivals, confirmed, worse, smaller, rule, compared)
    tested = [one.name for one in rivals]
    return Choice(chosen.name, reference.name, verdict, compared, tested, confirmed, worse, reasons)


def compare(one: Contender, reference: Contender) -> Comparison | None:
    """None where they have no seed in common."""
    loss = difference(one.losses, reference.losses)
    if loss is None:
        return None
    if not (one.cut and reference.cut):
        return Comparison(loss, None, incomplete=bool(reference.cut))
    gains = [less(each.cut, each.losses) for each in (reference, one)]
    return Comparison(loss, difference(gains[0], gains[1]))


def _recalls(one: Contender, rule: Rule) -> bool:
    return rule.recall is None or (one.recall_bits is not None and one.recall_bits <= rule.recall)


def _least(contenders: Sequence[Contender]) -> Contender | None:
    return min(contenders, key=lambda one: (one.state_bytes, one.loss), default=None)


def _likeliest(contenders: Sequence[Contender], reference: Contender, rule: Rule) -> Contender:
    """The least state that the picking documents put within delta of the reference, else the best by them."""

    def picked_by(one: Contender) -> float:
        return one.loss if one.picked_by is None else one.picked_by

    near = [one for one in contenders if picked_by(one) <= picked_by(reference) + rule.delta]
    return _least(near) or min(contenders, key=picked_by)


def _reasons(
    chosen: Contender,
    itself: Contender | None,
    rivals: Sequence[Contender],
    confirmed: list[str],
    worse: list[str],
    smaller: list[str],
    rule: Rule,
    compared: dict[str, Comparison],
) -> list[str]:
    """How the choice came about, and what would decide what is open."""
    if not rule.confirming:
        return [
            "One seed says nothing of how much seeds vary, and it picked the candidates too: finalists (finalists:) "
            "are trained again with fresh seeds."
        ]
    found = []
    if chosen.name in confirmed:
        found.append(
            f"{len(confirmed)} of {len(rivals)} models that meet the condition are confirmed; it has the least state."
        )
    elif chosen is itself:
        found.append("No model with less state is confirmed; the reference meets the condition itself.")
    else:
        found.append(_why(chosen.name, compared[chosen.name], rule, len(rivals) - len(confirmed), worse))
    left = len(rivals) - len(confirmed)
    found += [_why(name, compared[name], rule, left, worse) for name in smaller if name != chosen.name]
    if chosen is itself and not rivals:
        found.append(f"No model with less state was trained again: {rule.budget} or more trials are needed.")
    return found


def _why(name: str, found: Comparison, rule: Rule, tests: int, worse: list[str]) -> str:
    """Why a model is not confirmed, and what would decide; tests: models that are open."""
    if found.incomplete:
        return f"{name}: its gain from far context was not measured, so nothing is decided."
    if found.loss.seeds < rule.fewest_seeds:
        return f"{name}: {found.loss.seeds} seed in common with the reference says nothing of how much seeds vary."
    what, part = max(found.parts.items(), key=lambda item: item[1].p_at_most(rule.delta))
    interval = part.estimate()
    start = f"{name}: {what} worse by {part.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}] nats a token"
    if name in worse:
        return f"{start}, more than {rule.delta:g}; {rule.budget} may change that."
    confidence = 1 - (1 - rule.confidence) / max(1, tests)
    varies = "seeds" if part.from_seeds >= part.from_documents else "documents"
    have = part.seeds if varies == "seeds" else part.documents
    among = f" among {tests} open models" if tests > 1 else ""
    needed = more_needed(part, rule.delta, confidence)
    if needed is None:
        return f"{start}: undecided{among}; so near to {rule.delta:g} that more seeds or documents hardly decide it."
    return f"{start}: undecided{among}, since {have} {varies} vary too much; about {needed} would decide."


def more_needed(found: Difference, delta: float, confidence: float) -> int | None:
    """How many seeds or documents, whichever vary more, would decide if the difference stayed, the others growing in
    proportion; none beyond MOST_NEEDED.
    """
    have = found.seeds if found.from_seeds >= found.from_documents else found.documents
    varying = (found.from_seeds + found.from_documents) * have
    room = abs(delta - found.value)
    for count in range(have + 1, MOST_NEEDED):
        if float(stats.t.ppf(confidence, count - 1)) * math.sqrt(varying / count) <= room:
            return count
    return None
