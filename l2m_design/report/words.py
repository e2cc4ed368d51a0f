"""The outcome of a study in sentences, the same on the terminal and on the page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from l2m_design import laws
from l2m_design.estimates import Estimate
from l2m_design.laws import growth_words
from l2m_design.search.results.choice import BEST, Verdict
from l2m_design.search.space.known import REFERENCE
from l2m_design.terms import OTHER, REACH_LIMIT, Terms

if TYPE_CHECKING:  # what measures and searches takes long to import, and `l2m check` needs none of it
    from l2m_design.information.measured import Measured
    from l2m_design.search.cost import Cost
    from l2m_design.search.record import Record
    from l2m_design.search.results.values import ChoiceMade, Chosen, Finalist, Summary

Standing = Literal["keeps up", "worse", "undecided", "fails the condition", "not judged"]
size = laws.size
MARKS = {True: "met", False: "not met", None: "not decided"}
ENDS = {"upper": "the upper end of the interval", "value": "the value", "lower": "the lower end of the interval"}


def letter(number: int) -> str:
    """A name of letters for each number from 0: A to Z, then AA, AB, ..."""
    first, last = divmod(number, 26)
    return (letter(first - 1) if first else "") + chr(ord("A") + last)


def tokens(count: int | None) -> str:
    """The longest context covered, in words."""
    return f"at least {REACH_LIMIT:,} tokens" if count is None else f"{count:,} tokens"


def estimate(found: Estimate | None, sign: bool = False) -> str:
    """value [low, high]."""
    if found is None:
        return "-"
    form = "+.3f" if sign else ".3f"
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"


def trial(record: "Record") -> str:
    """One line about a finished trial."""
    name = f"trial {record.number} {record.picture}" + (f" ({record.design})" if record.design else "")
    if record.copy_of is not None:
        return f"{name}: duplicate of trial {record.copy_of}"
    if record.late_loss is None:
        return f"{name}: {record.state}: {record.reason}"
    rate = f", learning rate x {record.rate:g}" if record.rate != 1 else ""
    held = size(record.state_bytes)
    return f"{name}: late loss {record.late_loss:.3f}, state {held}, objective {record.value:.3f}{rate}"


def cost(found: "Cost") -> list[str]:
    """What a study will cost, in lines."""

    def hours(of: Mapping[str, tuple[float, float]]) -> str:
        return ", ".join(f"{what} {_hours(low)} to {_hours(high)}" for what, (low, high) in of.items())

    read = ", ".join(f"{times:,.3g} in each run of a {what}" for what, times in found.readings.items())
    low, high = found.memory_gib
    return [
        f"time on one H100, without starting processes and compiling: {hours(found.hours_h100)}",
        f"time on {found.threads} CPU threads: {hours(found.hours_cpu)}",
        f"GPU memory: {low:,.2g} to {high:,.2g} GiB; less with a smaller recipe.micro_batch",
        f"disk space for weights and checkpoints: {found.disk_gib:,.2g} GiB",
        f"passes over the training documents: {read}",
    ]


def _hours(count: float) -> str:
    """In minutes below one hour."""
    if count < 1:
        return f"{max(1, round(60 * count))} min"
    return f"{count:,.0f} h" if count >= 10 else f"{count:.2g} h"


def rejected(summary: "Summary") -> str:
    """How many candidates were rejected before training by the condition, and how many ran out of GPU memory."""
    ran_out = sum(record.ran_out and record.copy_of is None for record in summary.records)
    said = f"{summary.trials.infeasible - ran_out} rejected before training"
    return said + (f", {ran_out} out of memory" if ran_out else "")


def constant(terms: Terms, kinds: tuple[str, ...] | None = None) -> str:
    """The capacity of a state element, and whether it was measured or assumed; of `kinds` only, if they are given."""
    ranges = terms.nats_range
    own = {kind: nats for kind, nats in terms.nats_by_kind.items() if kinds is None or kind in kinds}
    assumed = "" if OTHER in ranges else " (assumed)"
    other = f"{terms.nats_per_element:g}{_range(ranges.get(OTHER))}"
    if not own:
        return f"{other} nats{_UNMEASURED if OTHER in ranges else assumed}"
    listed = ", ".join(f"{nats:.3g}{_range(ranges.get(kind))} nats in {kind}" for kind, nats in own.items())
    rest = f", {other} elsewhere{assumed}"
    if kinds is not None:
        others = [kind for kind in kinds if kind not in own]
        rest = f", {other} in {', '.join(others)}{_UNMEASURED if OTHER in ranges else assumed}" if others else ""
    return f"{listed} (measured on a source of known information, with windows of a few thousand tokens){rest}"


_UNMEASURED = " (not measured; the interval is that of all measured mixer types)"


def _range(ends: tuple[float, float] | None) -> str:
    return f" [{ends[0]:.3g}, {ends[1]:.3g}]" if ends else ""


def outcome(summary: "Summary") -> list[str]:
    """What a study found, in sentences; they begin with a warning if its losses say nothing about long context."""
    chosen = summary.chosen
    said = [*_context_warning(summary), _demand(summary)]
    if chosen is None:
        return [*said, *summary.choice.said]
    verdict = [_verdict(summary, chosen, summary.verdict)] if summary.verdict else []
    said += [_answer(chosen, summary.demand.terms), *verdict, *summary.choice.said, *_tradeoff(summary)]
    if summary.demand.has_level:
        said.append(
            f"Longest context covered: {tokens(chosen.reach_tokens.effective)} at the assumed capacity, "
            f"{tokens(chosen.reach_tokens.hard)} by the hard bound. Assumed capacity per state element: "
            f"{constant(summary.demand.terms, chosen.architecture.state.kinds)}."
        )
    return said


def headline(summary: "Summary") -> str:
    """The answer in one line."""
    chosen = summary.chosen
    if chosen is None:
        return "No architecture was chosen"
    named = chosen.design or chosen.trial is not None
    name = chosen.name[:1].upper() + chosen.name[1:] if named else "An architecture of the study"
    return {
        "confirmed": f"{name} keeps up, with the smallest state",
        "not confirmed": f"{name} was chosen, but it does not keep up",
        "undecided": f"{name} was chosen; whether it keeps up is undecided",
        None: f"{name} was chosen",
    }[summary.verdict]


def facts(summary: "Summary") -> list[tuple[str, str, str]]:
    """The answer in numbers: (name, value, a value to compare it with)."""
    chosen, terms = summary.chosen, summary.demand.terms
    if chosen is None:
        return []
    full = next((row.state_bytes for row in summary.baselines if row.design == REFERENCE), 0)
    ratio = full / chosen.state_bytes
    saved = f"full attention: {size(full)}, {ratio:.3g} times as much" if ratio > 1 else ""
    found = [(f"state at {terms.length:,} tokens", size(chosen.state_bytes), saved)]
    loss = chosen.test_loss.value if chosen.test_loss else chosen.loss
    if loss is not None:
        gap = (
            f"minus that of {summary.reference}: {estimate(chosen.difference, sign=True)}" if chosen.difference else ""
        )
        found.append(("late loss, nats per token", f"{loss:.3f}", gap))
    if chosen.effective_context is not None:
        window = f"in windows of {summary.choice.length:,} tokens"
        found.append(("effective context", f"{chosen.effective_context:,} tokens", window))
    required = growth_words(summary.demand.exponent, summary.demand.law.form == "logarithm")
    met = f"required: {required}, {MARKS[chosen.meets_growth]}"
    found.append(("growth of the state", f"t^{chosen.growth_exponent:.2f}", met))
    found.append(("parameters", f"{chosen.parameters:,}", ""))
    return found


def _context_warning(summary: "Summary") -> list[str]:
    """A warning if no model used far context, since the losses then cannot compare architectures for it."""
    choice = summary.choice
    if summary.uses_context is not False:
        if summary.gains_at_context is not False:
            return []
        return [
            f"These losses concern short contexts only: no model gains from context beyond {choice.context:,} tokens, "
            "although the choice compares this gain (choice.context). Use longer windows, more training tokens, or "
            "data with longer dependence."
        ]
    return [
        f"These losses say nothing about long contexts: after {choice.recipe.tokens:,} training tokens, no model gains "
        f"from context beyond {choice.length // 16:,} tokens, a sixteenth of its window. Models of 0.5 M parameters "
        "began to gain from it after about 300,000 byte-pair tokens, and after more tokens of bytes "
        "(docs/lab-book.md). Train with 4 times as many tokens before you compare architectures."
    ]


def _answer(chosen: "Chosen", terms: Terms) -> str:
    """The answer in one sentence."""
    trial = f"trial {chosen.trial}" if chosen.trial is not None else "an architecture of the study"
    name = f"{trial}, the baseline '{chosen.design}'" if chosen.design else trial
    reached = chosen.effective_context
    used = (
        ""
        if reached is None
        else f", effective context {reached:,} tokens"
        if reached
        else ", no gain from any measured context"
    )
    return (
        f"Chosen: {chosen.picture} ({name}): {size(chosen.state_bytes)} of state at {terms.length:,} tokens, "
        f"growing as t^{chosen.growth_exponent:.2f}, late loss {estimate(chosen.test_loss)} nats per "
        f"token on test documents{used}."
    )


def _verdict(summary: "Summary", chosen: "Chosen", verdict: Verdict) -> str:
    """Whether the chosen model keeps up, the closest comparison, and how much state it saves."""
    choice = summary.choice
    said = {
        "confirmed": "Confirmed: it keeps up",
        "not confirmed": "Not confirmed: it does not keep up",
        "undecided": "Undecided: the tests do not show whether it keeps up",
    }[verdict]
    named = summary.settings.choice.reference != BEST
    bar = f"with {summary.reference}" if named else "with every other finalist"
    own = next((choice.standings[name] for name in chosen.names if name in choice.standings), None)
    if own is None:
        return f"{said} {bar}."
    gained = f" and gain from context beyond {choice.context:,} tokens" if own.lost_gain else ""
    lost = f", gain lost {estimate(own.lost_gain, sign=True)}" if own.lost_gain else ""
    over = f"documents and {chosen.seeds} fresh seeds" if chosen.seeds > 1 else "documents (one seed)"
    return (
        f"{said} {bar} (late loss{gained} at most {choice.delta:g} nats per token worse). The closest comparison is "
        f"with {own.rival} (difference of late loss {estimate(own.difference, sign=True)}{lost}; paired over {over})."
        f"{_saved(summary, chosen)}"
    )


def standing(name: str, choice: "ChoiceMade") -> Standing:
    """Whether a model keeps up, by the tests."""
    if name in choice.confirmed:
        return "keeps up"
    if name in choice.worse:
        return "worse"
    return "undecided" if name in choice.standings else "fails the condition"


def standing_of(row: "Finalist", summary: "Summary") -> Standing:
    """Whether a finalist keeps up; in early studies, which had no tests, whether it meets the condition."""
    if summary.verdict is None:
        return "not judged" if row.feasible else "fails the condition"
    return standing(row.name, summary.choice)


def _saved(summary: "Summary", chosen: "Chosen") -> str:
    """A sentence: how much smaller the state is than that of full attention, if that was trained."""
    full = [row.state_bytes for row in summary.baselines if row.design == REFERENCE]
    saved = full[0] / chosen.state_bytes if full else 1.0
    return f" Its state is {saved:.3g} times smaller than that of full attention." if saved > 1 else ""


def _tradeoff(summary: "Summary") -> list[str]:
    """What each halving of the state costs along the front."""
    steps = [
        f"from {step.larger} to {step.smaller} ({size(step.state_bytes)}) {estimate(step.cost_per_halving, sign=True)}"
        + (" (knee)" if step.knee else "")
        for step in summary.tradeoff
        if step.cost_per_halving
    ]
    return [f"Cost of halving the state, in nats per token: {'; '.join(steps)}."] if steps else []


def _demand(summary: "Summary") -> str:
    law, measurement = summary.demand.law, summary.demand.measurement
    required = growth_words(summary.demand.exponent, law.form == "logarithm")
    start = "" if measurement is None else f"{summary.corpus.name}, measured by {measurement.estimator}: "
    if law.form != "power":
        return f"{start}no beta, I(n;n) = {law.formula()} nats; required growth: {required}."
    if measurement is None:
        start = f"Given exponent: beta {law.exponent:.3g}"
    else:
        start = f"{start}beta {estimate(measurement.beta)}"
    end = ENDS[summary.demand.terms.end]
    return f"{start}; the state of every candidate must grow as {required} or faster ({end})."


def _ground(terms: Terms) -> str:
    """Where the capacity per state element comes from."""
    assumed = (
        f"capacity of {terms.nats_per_element:g} nats per state element is an assumption (condition.nats_per_element)."
    )
    if not terms.nats_by_kind:
        return f"How large it must be depends on the capacity of an element; the {assumed}"
    ranges = terms.nats_range
    listed = ", ".join(f"{kind} {nats:.3g}{_range(ranges.get(kind))}" for kind, nats in terms.nats_by_kind.items())
    rest = "" if OTHER in ranges else f" For all other mixer types the {assumed}"
    return (
        "How large it must be depends on the capacity per state element. This was measured for each mixer type (in "
        f"nats: {listed}), with small models on a source of known information; on other data it is an assumption.{rest}"
    )


def _finalists_said(summary: "Summary") -> list[str]:
    asked = summary.settings.finalists
    if not summary.finalists or asked is None:
        return []
    tokens_ = f"{asked.tokens:,} tokens" if asked.tokens else "four times the tokens"
    return [
        f"Finalists were trained again ({tokens_}). The learning rate of each (one of {len(asked.rates)}) and the "
        "reference were selected with one seed on validation documents. The differences come from "
        f"{asked.seeds} further seeds and from test documents, which were not used for any selection."
    ]


def caveats(summary: "Summary") -> list[str]:
    """The limits of the result, in sentences."""
    terms, recipe, rates = summary.demand.terms, summary.settings.recipe, summary.settings.search.rates
    return [
        f"The condition fixes how fast the state must grow. {_ground(terms)}",
        "The capacity condition concerns contexts up to the target length. The growth condition concerns contexts "
        "without an upper limit. The tables show both.",
        f"The required growth is {ENDS[terms.end]} of beta (condition.end). The condition is necessary but not "
        "sufficient.",
        f"Each candidate was trained on {recipe.tokens:,} tokens in windows of {recipe.length:,}, with "
        + ("one learning rate" if len(rates) == 1 else f"one of {len(rates)} learning rates (baselines with each)")
        + " and one seed. The losses rank candidates at this budget; longer training may rank them differently.",
        *_finalists_said(summary),
        *(_of_measurement(summary.demand.measurement, terms) if summary.demand.measurement else []),
        "Baselines have the largest kv_heads, d_state and window of the space ('all windows' has the smallest window). "
        f"All state elements are counted in {terms.dtype}, although runtimes may store recurrent states in float32.",
        *(_of_compression(summary.demand.measurement) if summary.demand.measurement else []),
    ]


def _of_measurement(measurement: "Measured", terms: Terms) -> list[str]:
    """The contexts for which a measured law is known, and the documents for which its interval is valid."""
    said = []
    if measurement.longest < terms.length:
        slopes = [slope for slope in measurement.local_slopes if slope]
        said.append(
            f"The law was measured on contexts up to {measurement.longest:,.0f} tokens (last local slope "
            f"{estimate(slopes[-1] if slopes else None)}). Beyond that, up to {terms.length:,}, it is extrapolated."
        )
    if measurement.few_documents:
        said.append(
            "There were too few documents to resample, so the interval of beta is valid for these documents only, not "
            "for documents of their kind."
        )
    return said


def _of_compression(measurement: "Measured") -> list[str]:
    if measurement.estimator != "compression":
        return []
    return [
        "The requirement was measured with n-grams of other documents and of the window. It does not contain "
        "dependence of other kinds, so the amount is neither a lower nor an upper bound. The control with shuffled "
        "words shows how much of it comes from vocabulary."
    ]
