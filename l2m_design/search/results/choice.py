"""The choice: of the models that are worse than none by more than delta, the one with the least state.

Each model that meets the condition is compared with every other finalist (or with the one that the study names) on test
documents and on seeds that picked nothing: tests of non-inferiority of the late loss and of the gain from far context.
To be within delta of the best, whichever that is, all of them must pass, so the largest p-value is the model's own (an
intersection-union test, Berger 1982). The models' p-values are corrected by Holm's procedure, which holds however they
are related and loses less power than a bound over all at once. A model counts as worse only where that is shown at a
level shared by all models, rivals and both parts (Bonferroni).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from l2m_design.search.results.paired import Difference, Losses, difference, less, t_quantile

BEST, FULL = "best", "full attention"
Verdict = Literal["confirmed", "not confirmed", "undecided"]
MOST_NEEDED = 1000


@dataclass(frozen=True)
class Contender:
    """A trained model that may be chosen.

    picked_by: late loss, nats per token, on validation documents by the first seed; none where there is no such run.
    losses: on documents that confirm, by seed. cut: of the same with the past cut to the choice's context, empty where
    it was not measured. state_bytes: at the target length. feasible: does it meet what is enforced of the condition?
    recall_bits: late excess over Bayes on the recall source, bits per scored token, if it was measured.
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
        """Late loss, nats per token, over seeds and documents that confirm."""
        return float(np.mean([np.mean(losses) for losses in self.losses.values()]))


@dataclass(frozen=True)
class Rule:
    """delta: nats per token that may be lost. confidence: of all tests together. confirming: are there fresh seeds
    (else nothing is confirmed)? recall: most bits over Bayes, if any. budget: what a larger one would be, in words.
    named: is the reference the only rival, since the study names it?
    """

    delta: float
    confidence: float
    confirming: bool = True
    recall: float | None = None
    budget: str = "a larger budget"
    named: bool = False

    @property
    def fewest_seeds(self) -> int:
        """Seeds without which nothing is known of how much seeds vary."""
        return 2 if self.confirming else 1


@dataclass(frozen=True)
class Comparison:
    """A model beside the reference: late loss, and the reference's gain from far context less its own; nats per token.

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

    def p_worse(self, rule: Rule) -> float:
        """The p-value against "neither is worse by more than delta", corrected for the two; 1 where too little is
        known.
        """
        known = [part for part in self.parts.values() if math.isfinite(part.error)]
        if self.loss.seeds < rule.fewest_seeds or not known:
            return 1.0
        return min(1.0, 2 * min(1 - part.p_at_most(rule.delta) for part in known))


@dataclass(frozen=True)
class Standing:
    """A model among its rivals: the rival to which it is least surely not inferior, and the comparison with it.

    p: of the test that it is inferior to none. p_worse: of the test that it is not worse than any, corrected for
    rivals.
    """

    rival: str
    comparison: Comparison
    p: float
    p_worse: float


@dataclass(frozen=True)
class Choice:
    """chosen: a contender's name or none. comparisons: by name, to the reference. standings: by name, of those that
    were tested. confirmed, worse: names of those that are shown to keep up, and of those that are shown not to.
    reasons: why, and what would decide, in sentences.
    """

    chosen: str | None
    reference: str | None
    verdict: Verdict
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
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
    """The least state among the feasible that are confirmed, of equal states the lower loss; else the likeliest of
    those that are not shown to be worse.
    """
    if reference is None:
        why = "Nothing can be chosen, since the training of the reference did not finish."
        return Choice(None, None, "undecided", reasons=[why])
    compared = {one.name: found for one in contenders if (found := compare(one, reference)) is not None}
    able = [one for one in contenders if one.name in compared and one.feasible and _recalls(one, rule)]
    if not able:
        why = "no trained candidate meets the condition"
        if any(one.feasible for one in contenders) and rule.recall is not None:
            why = (
                f"no model that meets the condition has a loss within {rule.recall:g} bits of the Bayes loss on the "
                "recall source"
            )
        return Choice(None, reference.name, "undecided", compared, reasons=[f"No model qualifies: {why}."])
    rivals = [reference] if rule.named else contenders
    standings = {one.name: own for one in able if (own := standing(one, rivals, rule)) is not None}
    confirmed = holm({name: found.p for name, found in standings.items()}, rule.confidence)
    level = (1 - rule.confidence) / max(1, len(standings))
    worse = [name for name, found in standings.items() if found.p_worse < level]
    chosen = _least([one for one in able if one.name in confirmed])
    if chosen is None:
        chosen = _likeliest([one for one in able if one.name not in worse] or able, reference, rule)
    verdict: Verdict = "undecided"
    if rule.confirming and chosen.name in confirmed:
        verdict = "confirmed"
    elif rule.confirming and chosen.name in worse:
        verdict = "not confirmed"
    smaller = [one.name for one in able if one.state_bytes < chosen.state_bytes]
    reasons = _reasons(chosen, able, smaller, standings, confirmed, worse, rule)
    if rule.confirming:
        reasons += _without_the_condition(chosen, [one for one in contenders if one.name in compared], rivals, rule)
    return Choice(chosen.name, reference.name, verdict, compared, standings, confirmed, worse, reasons)


def _without_the_condition(
    chosen: Contender, contenders: Sequence[Contender], rivals: Sequence[Contender], rule: Rule
) -> list[str]:
    """Who keeps up with less state although it does not meet the condition (Holm's procedure among those alone)."""
    fewer = [one for one in contenders if not one.feasible and one.state_bytes < chosen.state_bytes]
    tests = {one.name: own.p for one in fewer if (own := standing(one, rivals, rule)) is not None}
    names = holm(tests, rule.confidence)
    if not names:
        return []
    return [
        f"With less state, {' and '.join(names)} also {'keeps' if len(names) == 1 else 'keep'} up at the trained "
        "length, without meeting the condition. So these runs do not show that the required growth is needed at this "
        "length. The condition concerns longer contexts."
    ]


def standing(one: Contender, rivals: Sequence[Contender], rule: Rule) -> Standing | None:
    """One model among all rivals; none where it has nobody to be compared with."""
    others = [other for other in rivals if other.name != one.name]
    found = {other.name: pair for other in others if (pair := compare(one, other)) is not None}
    if not found:
        return None
    hardest = max(found, key=lambda name: found[name].p(rule))
    p_worse = min(pair.p_worse(rule) for pair in found.values()) * len(found)
    return Standing(hardest, found[hardest], found[hardest].p(rule), min(1.0, p_worse))


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
    able: Sequence[Contender],
    smaller: list[str],
    standings: dict[str, Standing],
    confirmed: list[str],
    worse: list[str],
    rule: Rule,
) -> list[str]:
    """How the choice came about, and what would decide what is open."""
    if not rule.confirming:
        return [
            "Nothing can be confirmed with one seed, which does not show how much losses vary between seeds and which "
            "also selected the candidates. Add finalists, which are trained again with fresh seeds."
        ]
    left = len(standings) - len(confirmed)
    found = []
    if chosen.name in confirmed:
        found.append(
            f"{len(confirmed)} of the {len(able)} models that meet the condition keep up; the chosen one has the "
            "smallest state."
        )
    elif chosen.name in standings:
        found.append(_why(chosen.name, standings[chosen.name], rule, left, worse))
    else:
        found.append(f"{chosen.name}: no other model was trained again with the same seeds.")
    found += [_why(name, standings[name], rule, left, worse) for name in smaller if name in standings]
    if not smaller:
        found.append("No model with a smaller state that meets the condition was trained again.")
    return found


def _why(name: str, found: Standing, rule: Rule, tests: int, worse: list[str]) -> str:
    """Why a model is not confirmed, and what would decide; tests: models that are open."""
    pair = found.comparison
    if pair.incomplete:
        return f"{name}: undecided, since its gain from far context was not measured."
    if pair.loss.seeds < rule.fewest_seeds:
        return (
            f"{name}: undecided, since {pair.loss.seeds} seed in common with {found.rival} does not show how much "
            "losses vary between seeds."
        )
    what, part = max(pair.parts.items(), key=lambda item: item[1].p_at_most(rule.delta))
    interval = part.estimate()
    start = (
        f"{name}: {what} worse than that of {found.rival} by {part.value:+.3f} [{interval.low:+.3f}, "
        f"{interval.high:+.3f}] nats per token"
    )
    if name in worse:
        return f"{start}, more than {rule.delta:g}; {rule.budget} may change that."
    confidence = 1 - (1 - rule.confidence) / max(1, tests)
    varies = "seeds" if part.from_seeds >= part.from_documents else "documents"
    have = part.seeds if varies == "seeds" else part.documents
    among = f" (one of {tests} undecided models)" if tests > 1 else ""
    needed = more_needed(part, rule.delta, confidence)
    if needed is None:
        return (
            f"{start}: undecided{among}, since the difference is too close to {rule.delta:g}; more seeds or documents "
            "would not decide it."
        )
    return (
        f"{start}: undecided{among}, since the {have} {varies} vary too much; about {needed} {varies} would decide it."
    )


def more_needed(found: Difference, delta: float, confidence: float) -> int | None:
    """How many seeds or documents, whichever vary more, would decide if the difference stayed, the others growing in
    proportion; none beyond MOST_NEEDED.
    """
    have = found.seeds if found.from_seeds >= found.from_documents else found.documents
    varying = (found.from_seeds + found.from_documents) * have
    room = abs(delta - found.value)
    for count in range(have + 1, MOST_NEEDED):
        if t_quantile(confidence, count - 1) * math.sqrt(varying / count) <= room:
            return count
    return None
