"""Advice in sentences: the state by layer type, and the smallest changes that would meet the condition."""

from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

from l2m_design.advice import Change, Stack, then
from l2m_design.advice.lack import HEAD
from l2m_design.advice.practice import MODEL, ONE_IN, WINDOW, costs, practised
from l2m_design.advice.surgery import THIN_CHUNK
from l2m_design.condition import Demand
from l2m_design.report.words import size


class TypeState(TypedDict):
    """State of the layers of a type at the target length, as JSON. share: of the whole state."""

    kind: str
    layers: int
    state_bytes: int
    share: float


def state_by_type(stack: Stack, kinds: Sequence[str], demand: Demand) -> list[TypeState]:
    """Return bytes at the target length and their share by layer type, the largest first.

    layers: number of layers with a state of their own.
    """
    terms = demand.terms
    bytes_: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for kind, law in zip(kinds, stack.layers, strict=True):
        if held := law.bytes(terms.length, terms.dtypes):
            bytes_[kind] += held
            count[kind] += 1
    whole = max(1, stack.state.bytes(terms.length, terms.dtypes))
    return [
        {"kind": kind, "layers": count[kind], "state_bytes": paid, "share": paid / whole}
        for kind, paid in bytes_.most_common()
    ]


def advice(stack: Stack, kinds: Sequence[str], demand: Demand, changes: list[Change]) -> list[str]:
    """Return sentences: state by layer type, changes that published models made, and what the condition allows."""
    met, terms = stack.meets(demand), demand.terms
    rows = [row for row in state_by_type(stack, kinds, demand) if row["share"] >= 0.0005]
    shares = ", ".join(f"{_count(row['layers'], row['kind'])} {row['share']:.1%}" for row in rows)
    said = [f"State by layer type at {terms.length:,} tokens: {shares or 'none'}."]
    if not changes:
        none = "No known change needs less state and still meets the condition."
        return [*said, none if met else _hopeless(stack)]
    if met:
        said += _practice(stack, kinds, demand)
        if any(change.to in ("window", "fixed", "shorter_window", "smaller_state") for change in changes):
            said.append(_cost())
    elif not any(change.after.meets(demand) for change in changes):
        said.append("No change of these layers alone meets the whole condition.")
    for index, change in enumerate(_mentioned(changes)):
        lead = (
            "Or" if index else "Smallest change" if change.after.meets(demand) else "For the capacity condition alone"
        )
        if met and not index:
            lead = "The condition alone allows"
        said.append(f"{lead}: {_said(change, kinds, demand)}; {_left(change, stack, demand)}.")
    if later := then(stack, demand, changes):
        said.append(f"After the first change: {_said(later, kinds, demand)}; {_left(later, changes[0].after, demand)}.")
    caution = (
        "The condition is necessary, not sufficient: evicted tokens may still be needed, which only training can show."
    )
    return [*said, caution] if met or later else said


def _practice(stack: Stack, kinds: Sequence[str], demand: Demand) -> list[str]:
    """The change that published models made; nothing if it does not apply."""
    change = practised(stack, demand)
    if change is None:
        return []
    which = _which(change.layers, kinds)
    length = demand.terms.length
    return [
        f"As in {MODEL}, where one layer in {ONE_IN} has full attention and the others windows of {WINDOW:,} tokens: "
        f"if {which} become windows, at {length:,} tokens {_left(change, stack, demand)}, and the condition is met.",
    ]


def _cost() -> str:
    """The measured cost of windows instead of full attention."""
    known = costs()
    rows = "; ".join(
        f"{row.picture} with windows of up to {row.window} {row.nats:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        for row in known.rows
    )
    return (
        f"Measured cost, nats per token above full attention at {known.length:,} tokens, in models of "
        f"{known.parameters / 1e6:.1f} M parameters ({known.study}): {rows}."
    )


def _mentioned(changes: list[Change]) -> list[Change]:
    """All changes, without fixed states of any size if windows of any size are enough."""
    free = any(change.window_tokens == 1 for change in changes)
    return [change for change in changes if not (free and change.fixed_elements == 1)]


def _hopeless(stack: Stack) -> str:
    if not stack.state.terms:
        return "The model has no state that could grow."
    return "No known change of its layers would be enough."


def _said(change: Change, kinds: Sequence[str], demand: Demand) -> str:
    """Which layers change, and how."""
    which, length = _which(change.layers, kinds), demand.terms.length
    if change.to == "window":
        return f"{which} may become windows {_of_size(change.window_tokens, 'tokens')}{_and_thinned(change)}"
    if change.to == "fixed":
        return f"{which} may become fixed states {_of_size(change.fixed_elements, 'elements')}"
    if change.to == "shorter_window":
        if change.window_tokens == 1:
            return f"{which} may be shorter, if training shows no loss"
        return f"{which} may cache only {change.window_tokens:,} tokens each"
    if change.to == "smaller_state":
        held = "smaller, if training shows no loss"
        if change.factor != 0.01:
            held = f"{change.factor:g} times as large"
        return f"the recurrent state of {which} may be {held}"
    own = f" of {_heads(change.slot_elements)} or more" if change.slot_elements else ""
    if change.to == "full":
        return f"{which} must become full attention{own}"
    if change.to == "sparse":
        if own or any(kinds[i] == "window" for i in change.layers):
            return f"{which} must become attention{own} that caches {_thin(change)}"
        return f"{which} may cache only {_thin(change)}"
    times = f"{change.factor or 1:,.4g} times"
    if change.to == "larger_budget":
        keep = "" if change.factor == 1 else f" and keep {times} as large"
        return f"{which} must cache more: exponent at least {change.exponent or 0:g}{keep}"
    if change.to == "longer_window":
        return f"{which} must cache {change.window_tokens or 0:,} tokens, {times} as many, to cover {length:,} tokens"
    what = "the recurrent state" if change.to == "larger_state" else "the state"
    return f"{what} of {which} must be {times} as large to cover {length:,} tokens"


def _heads(elements: int) -> str:
    """Describe what new attention stores of a token, such as: 2 heads of 64 (256 elements per token)."""
    heads, rest = divmod(elements, HEAD)
    kept = f"{elements:,} elements per token"
    return kept if rest else f"{heads:,} {'head' if heads == 1 else 'heads'} of {HEAD // 2} ({kept})"


def _left(change: Change, stack: Stack, demand: Demand) -> str:
    """The state afterwards, beside the state before."""
    terms = demand.terms
    before, after = (each.state.bytes(terms.length, terms.dtypes) for each in (stack, change.after))
    unmet = "" if change.after.meets(demand) else ", and the growth condition is still not met"
    before_, after_ = demand.enough(stack.state), demand.enough(change.after.state)
    if before_ and after_ and before_.answer == "yes" != after_.answer:
        unmet += ", and whether the state is still large enough is not decided"
    return f"{size(before)} become {size(after)}, {_difference(before, after)}{unmet}"


def _difference(before: int, after: int) -> str:
    """Such as: 4.5 times less; 3.2% more."""
    small, large = sorted((max(1, before), max(1, after)))
    ratio, word = large / small, "less" if after < before else "more"
    if ratio < 1.1:
        share = abs(after - before) / max(1, before)
        return f"{share:.1%} {word}" if share >= 0.0005 else f"hardly {word}"
    return f"{f'{ratio:,.0f}' if ratio >= 100 else f'{ratio:.3g}'} times {word}"


def _and_thinned(change: Change) -> str:
    if not change.thinned:
        return ""
    alone = len(change.thinned) == 1
    left = "the remaining one caches" if alone else f"the remaining {len(change.thinned)} cache"
    return f" if {left} only {_thin(change)}"


def _thin(change: Change) -> str:
    return f"about t^{change.exponent:g} tokens (sparse_attention: chunk {THIN_CHUNK}, keep {change.keep:g})"


def _of_size(count: int | None, unit: str) -> str:
    """Return the smallest size; of any size if 1 is enough for the condition."""
    if count == 1:
        return "or fixed states of any size" if unit == "tokens" else "of any size"
    return f"of {count or 0:,} {unit} or more"


def _which(layers: Sequence[int], kinds: Sequence[str]) -> str:
    """Such as: 31 of its 32 attention layers; its window layer."""
    whole, parts = Counter(kinds), []
    for kind, count in Counter(kinds[i] for i in layers).items():
        if count == whole[kind]:
            parts.append(f"all {count} {kind} layers" if count > 1 else f"its {kind} layer")
        else:
            parts.append(f"{count} of its {whole[kind]} {kind} layers")
    return " and ".join(parts)


def _count(layers: int, kind: str) -> str:
    return f"{layers} {kind} {'layer' if layers == 1 else 'layers'}"
