"""Surgery on a layer's law: the same layer keeping fewer tokens, more of them, or a state of another size."""

from collections.abc import Callable
from dataclasses import replace

from l2m_design.architecture.schedules import ChunkSchedule, GlobalBudget, PowerSchedule, Snapshots
from l2m_design.laws import Fixed, StateLaw, StateTerm, Tokens

KEYED = ("attention", "window", "mla", "sparse_attention")
THIN_CHUNK = 32  # tokens of a chunk where keys are thinned, as in the shipped spaces


def is_full(term: StateTerm) -> bool:
    """Does it keep every token?"""
    return isinstance(term.growth, Tokens) and term.growth.cap is None and term.elements > 0


def is_window(term: StateTerm) -> bool:
    """Does it keep the last tokens?"""
    return isinstance(term.growth, Tokens) and term.growth.cap is not None and term.elements > 0


def is_budget(term: StateTerm) -> bool:
    """Does it keep as many tokens, or copies of a state, as a power of the context says?"""
    growth = term.growth
    power = isinstance(growth, (PowerSchedule, Snapshots)) or (
        isinstance(growth, GlobalBudget) and growth.law == "power"
    )
    return power and term.elements > 0


def is_recurrent(term: StateTerm) -> bool:
    """Is it a recurrent state of fixed size (not the convolution of an attention layer)?"""
    return isinstance(term.growth, Fixed) and term.kind not in KEYED and term.elements > 0


def has_keys(term: StateTerm) -> bool:
    """Does it store keys and values (not the scores of a bounded cache, which have their own dtype)?"""
    return isinstance(term.growth, (Tokens, ChunkSchedule, GlobalBudget)) and term.dtype is None and term.elements > 0


def keeps_tokens(law: StateLaw) -> bool:
    """Does all of it that grows without end keep tokens, so that a window could stand for it?"""
    growing = [term for term in law.terms if term.growth.exponent > 0 and term.elements]
    return bool(growing) and all(isinstance(term.growth, (Tokens, ChunkSchedule, GlobalBudget)) for term in growing)


def _keys(law: StateLaw) -> int:
    """Elements of a token: keys and values, without the scores of a bounded cache, which have their own dtype."""
    return sum(term.elements for term in law.terms if term.growth.exponent > 0 and term.dtype is None)


def _rest(law: StateLaw, taken: Callable[[StateTerm], bool]) -> tuple[StateTerm, ...]:
    return tuple(term for term in law.terms if not taken(term))


def _grows(term: StateTerm) -> bool:
    return term.growth.exponent > 0


def windowed(law: StateLaw, tokens: int) -> StateLaw:
    """The last `tokens` tokens instead of all, or instead of a selection."""
    return StateLaw((StateTerm(_keys(law), Tokens(tokens), kind="window"), *_rest(law, _grows)))


def settled(law: StateLaw, elements: int) -> StateLaw:
    """A fixed state of `elements` numbers, such as Mamba-2's, instead of what grows."""
    return StateLaw((StateTerm(elements, Fixed(), kind="mamba2"), *_rest(law, _grows)))


def thinned(law: StateLaw, exponent: float) -> StateLaw:
    """Cache the keys of about t^exponent tokens, evenly spread, in chunks."""
    growth = PowerSchedule(THIN_CHUNK, exponent)
    return StateLaw((StateTerm(_keys(law), growth, kind="sparse_attention"), *_rest(law, _grows)))


def opened(law: StateLaw, slot: int, exponent: float | None = None) -> StateLaw:
    """Cache the keys of all tokens, or of about t^exponent: a window without cap, or attention instead of a recurrence.

    slot: elements per token where the layer has no keys of its own.
    """
    own = sum(term.elements for term in law.terms if has_keys(term))
    growth = Tokens() if exponent is None else PowerSchedule(THIN_CHUNK, exponent)
    kind = "attention" if exponent is None else "sparse_attention"
    others = _rest(law, lambda term: has_keys(term) or _is_score(term)) if own else ()
    return StateLaw((StateTerm(own or slot, growth, kind=kind), *others))


def _is_score(term: StateTerm) -> bool:
    return isinstance(term.growth, (ChunkSchedule, GlobalBudget)) and term.dtype is not None


def widened(law: StateLaw, tokens: int) -> StateLaw:
    """Its windows at least `tokens` long."""
    terms = (
        replace(term, growth=Tokens(max(tokens, term.growth.cap or 0)))
        if isinstance(term.growth, Tokens) and is_window(term)
        else term
        for term in law.terms
    )
    return StateLaw(tuple(terms))


def shortened(law: StateLaw, tokens: int) -> StateLaw:
    """Its windows at most `tokens` long."""
    terms = (
        replace(term, growth=Tokens(min(tokens, term.growth.cap or tokens)))
        if isinstance(term.growth, Tokens) and is_window(term)
        else term
        for term in law.terms
    )
    return StateLaw(tuple(terms))


def budgeted(law: StateLaw, exponent: float, hundredths: int = 100) -> StateLaw:
    """Its budgets at least as steep as t^exponent, and hundredths / 100 times as large."""

    def more(term: StateTerm) -> StateTerm:
        growth = term.growth
        if not is_budget(term) or not isinstance(growth, (PowerSchedule, GlobalBudget, Snapshots)):
            return term
        keep, steep = round(growth.keep * hundredths / 100, 9), max(growth.exponent, exponent)
        most = 1.0 if isinstance(growth, Snapshots) else keep
        return replace(term, growth=replace(growth, exponent=steep, keep=min(keep, most)))

    return StateLaw(tuple(more(term) for term in law.terms))


def grown(law: StateLaw, hundredths: int, of: Callable[[StateTerm], bool]) -> StateLaw:
    """hundredths / 100 times the elements, rounded up, of the terms that are `of` a sort."""
    return StateLaw(
        tuple(replace(term, elements=-(-term.elements * hundredths // 100)) if of(term) else term for term in law.terms)
    )
