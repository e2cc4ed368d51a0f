"""The choice: of the models that are not worse than the reference by more than delta, the one with the least state.

Who is best is picked on validation documents by the first seed. Then each smaller one is held against it on documents
and seeds that picked nothing: a test of non-inferiority of the late loss and of the gain from far context (both must
pass, so the larger of the two p-values counts), corrected for the number of models by Holm's procedure, which holds
whatever they have in common and loses less power than a bound over all at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import stats

from l2m_design.search.results.paired import Difference, Losses, difference, less

BEST, FULL = "best", "full attention"
VERDICTS = Literal["confirmed", "not confirmed", "undecided"]
MOST_MORE = 1000


@dataclass(frozen=True)
class Contender:
    """Who may be chosen.

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
    """What is asked: delta in nats a token; confidence of the whole family of tests; confirming: do documents and seeds
    confirm that picked nothing (else nothing can be confirmed)? recall: most bits over Bayes, if any. context: tokens
    to which the past is cut; budget: what a larger one would be, in words.
    """

    delta: float
    confidence: float
    confirming: bool = True
    recall: float | None = None
    context: int | None = None
    budget: str = "a larger budget"


@dataclass(frozen=True)
class Comparison:
    """A model beside the reference: late loss, and the reference's gain from far context less its own; nats a token."""

    loss: Difference
    lost_gain: Difference | None

    def p_inferior(self, delta: float) -> float:
        """The p-value against "worse by more than delta in either"."""
        parts = [self.loss, self.lost_gain] if self.lost_gain else [self.loss]
        return max(part.p_at_most(delta) for part in parts)

    def surely_inferior(self, delta: float, confidence: float) -> bool:
        """Is either worse by more than delta, with confidence?"""
        parts = [self.loss, self.lost_gain] if self.lost_gain else [self.loss]
        return any(1 - part.p_at_most(delta) < 1 - confidence for part in parts if math.isfinite(part.error))


@dataclass(frozen=True)
class Choice:
    """chosen: a contender's name or none; comparisons: by name, to the reference. said: why, and what would decide."""

    chosen: str | None
    reference: str | None
    verdict: VERDICTS
    comparisons: dict[str, Comparison]
    confirmed: list[str]
    said: list[str]


def pick_reference(contenders: Sequence[Contender], asked: str, full: str) -> Contender | None:
    """The best by what picks, whether or not it meets the condition; or the named one. full: full attention's name."""
    if asked == BEST:
        seen = [one for one in contenders if one.picked_by is not None]
        return min(seen, key=lambda one: one.picked_by or 0.0, default=None)
    name = full if asked == FULL else asked
    return next((one for one in contenders if one.name == name), None)


def holm(p_values: dict[str, float], confidence: float) -> list[str]:
    """Whose hypotheses are rejected by Holm's procedure at level 1 - confidence, all of them together."""
    rejected: list[str] = []
    for index, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if p_values[name] > (1 - confidence) / (len(p_values) - index):
            break
        rejected.append(name)
    return rejected


def choose(contenders: Sequence[Contender], reference: Contender | None, rule: Rule) -> Choice:
    """The least state among the feasible that are confirmed; of equal states, the lower loss."""
    if reference is None:
        return _nothing(None, "Nothing can be chosen: the reference was not trained to the end.")
    compared = {one.name: found for one in contenders if (found := compare(one, reference)) is not None}
    able = [one for one in contenders if one.name in compared and one.feasible and _recalls(one, rule)]
    if not able:
        why = "no trained candidate meets the condition"
        if any(one.feasible for one in contenders) and rule.recall is not None:
            why = f"none that meets the condition is within {rule.recall:g} bits of Bayes on the recall source"
        return _nothing(reference.name, f"Nothing qualifies: {why}.", compared)
    rivals = {one.name: compared[one.name].p_inferior(rule.delta) for one in able if one.name != reference.name}
    confirmed = holm(rivals, rule.confidence)
    if any(one.name == reference.name for one in able):
        confirmed.append(reference.name)
    passed = sorted((one for one in able if one.name in confirmed), key=lambda one: (one.state_bytes, one.loss))
    if passed:
        chosen, verdict = passed[0], "confirmed" if rule.confirming else "undecided"
    else:
        chosen, verdict = _likeliest(able, reference, rule, compared)
    said = _said(chosen, able, confirmed, reference, rule, compared)
    return Choice(chosen.name, reference.name, verdict, compared, confirmed, said)  # type: ignore[arg-type]


def compare(one: Contender, reference: Contender) -> Comparison | None:
    """None where they have no seed in common."""
    loss = difference(one.losses, reference.losses)
    if loss is None:
        return None
    both_cut = one.cut and reference.cut
    gains = [less(each.cut, each.losses) for each in (reference, one)] if both_cut else []
    return Comparison(loss, difference(gains[0], gains[1]) if gains else None)


def _nothing(reference: str | None, why: str, compared: dict[str, Comparison] | None = None) -> Choice:
    return Choice(None, reference, "undecided", compared or {}, [], [why])


def _recalls(one: Contender, rule: Rule) -> bool:
    return rule.recall is None or (one.recall_bits is not None and one.recall_bits <= rule.recall)


def _likeliest(
    able: list[Contender], reference: Contender, rule: Rule, compared: dict[str, Comparison]
) -> tuple[Contender, VERDICTS]:
    """Where nothing is confirmed: the least state that the picking documents put within delta, else their best."""
    seen = [one for one in able if one.picked_by is not None] or able
    bar = (reference.picked_by if reference.picked_by is not None else reference.loss) + rule.delta
    near = [one for one in seen if (one.picked_by if one.picked_by is not None else one.loss) <= bar]
    if near:
        chosen = min(near, key=lambda one: (one.state_bytes, one.loss))
    else:
        chosen = min(seen, key=lambda one: one.picked_by if one.picked_by is not None else one.loss)
    if rule.confirming and compared[chosen.name].surely_inferior(rule.delta, rule.confidence):
        return chosen, "not confirmed"
    return chosen, "undecided"


def _said(
    chosen: Contender,
    able: list[Contender],
    confirmed: list[str],
    reference: Contender,
    rule: Rule,
    compared: dict[str, Comparison],
) -> list[str]:
    """How the choice came about, and what would decide what is open."""
    if not rule.confirming:
        return [
            "Undecided: one seed says nothing of how much seeds vary, and it picked the candidates too. Finalists "
            "(finalists:) are trained again with fresh seeds."
        ]
    said = []
    if chosen.name in confirmed:
        said.append(f"{len(confirmed)} of {len(able)} that meet the condition are confirmed; it has the least state.")
    else:
        said.append(_why_open(chosen.name, compared[chosen.name], rule))
    smaller = [
        one for one in able if one.state_bytes < chosen.state_bytes and one.name not in (*confirmed, chosen.name)
    ]
    undecided = [one for one in smaller if not compared[one.name].surely_inferior(rule.delta, rule.confidence)]
    said += [
        _why_open(one.name, compared[one.name], rule) for one in sorted(undecided, key=lambda one: one.state_bytes)
    ]
    if smaller and not undecided:
        names = ", ".join(one.name for one in smaller)
        said.append(f"Smaller states are worse by more than {rule.delta:g} at this budget ({names}).")
    elif not smaller and chosen.name == reference.name and len(able) > 1:
        said.append(
            f"Nothing with less state than {reference.name} was trained; {rule.budget} or more trials are needed."
        )
    return said


def _why_open(name: str, found: Comparison, rule: Rule) -> str:
    """Why a model is not confirmed, and what would decide it."""
    parts = [("late loss", found.loss)] + ([("gain from far context", found.lost_gain)] if found.lost_gain else [])
    what, worst = max(parts, key=lambda part: part[1].p_at_most(rule.delta))
    interval = worst.estimate()
    start = f"{name}: {what} worse by {worst.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}] nats a token"
    if not math.isfinite(worst.error):
        return (
            f"{name}: one seed and one document say nothing of the error; give finalists.seeds of 3 and more documents."
        )
    if found.surely_inferior(rule.delta, rule.confidence):
        return f"{start}: that is more than {rule.delta:g}; {rule.budget} may change it."
    needed = more_needed(worst, rule.delta, rule.confidence)
    larger = "seeds" if worst.from_seeds >= worst.from_documents else "documents"
    cause = f"{worst.seeds} seeds" if larger == "seeds" else f"{worst.documents} test documents"
    if needed is None:
        return f"{start}: undecided, and no number of {larger} decides a difference that near to {rule.delta:g}."
    return f"{start}: undecided, since {cause} vary that much; about {needed} {larger} would decide."


def more_needed(found: Difference, delta: float, confidence: float) -> int | None:
    """How many seeds or documents, whichever vary more, would decide if the difference stayed; none beyond 1000."""
    by_seeds = found.from_seeds >= found.from_documents
    have = found.seeds if by_seeds else found.documents
    varying, fixed = (
        (found.from_seeds * have, found.from_documents) if by_seeds else (found.from_documents * have, found.from_seeds)
    )
    room = delta - found.value
    if room <= 0:  # it must be shown worse, then
        room = -room
    for count in range(have + 1, MOST_MORE):
        if float(stats.t.ppf(confidence, count - 1)) * math.sqrt(varying / count + fixed) <= room:
            return count
    return None
