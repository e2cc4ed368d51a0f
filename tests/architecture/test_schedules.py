"""Sparse schedules: exact counts, a slow twin, monotone eviction, the promised growth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2m_design.architecture.schedules import GlobalBudget, PowerSchedule, WindowSchedule, bit_reversal

schedules = st.builds(
    PowerSchedule,
    chunk=st.sampled_from([2, 4, 8, 16]),
    exponent=st.floats(0.05, 1.0),
    keep=st.floats(0.1, 3.0),
)


def mirrored(index: int) -> float:
    """The van der Corput number of an index, bit by bit."""
    value, scale = 0.0, 0.5
    while index:
        value += scale * (index & 1)
        index, scale = index >> 1, scale / 2
    return value


def kept_by_the_rule(schedule: PowerSchedule, t: int) -> list[int]:
    """Slow twin: the rule of the module's first lines, token by token."""
    c, kept = schedule.chunk, []
    current = (t - 1) // c
    ranks = bit_reversal(c)
    for position in range(t):
        chunk, offset = divmod(position, c)
        age = current - chunk
        bound = min(1.0, schedule.keep * age ** (schedule.exponent - 1)) if age else 1.0
        if age < 2 or ranks[offset] + mirrored(chunk) < c * bound:
            kept.append(position)
    return kept


@given(schedules, st.integers(1, 200))
def test_positions_follow_the_rule(schedule: PowerSchedule, t: int) -> None:
    assert schedule.positions(t).tolist() == kept_by_the_rule(schedule, t)


@given(schedules, st.integers(1, 300))
def test_the_count_is_the_number_of_positions(schedule: PowerSchedule, t: int) -> None:
    assert schedule.count(t) == len(schedule.positions(t))


@given(schedules, st.integers(1, 300))
def test_an_evicted_token_never_returns(schedule: PowerSchedule, t: int) -> None:
    assert set(schedule.positions(t + 1)) <= set(schedule.positions(t)) | {t}


@given(st.sampled_from([2, 8, 32]), st.integers(1, 500))
def test_exponent_one_keeps_everything(chunk: int, t: int) -> None:
    assert PowerSchedule(chunk, 1.0).count(t) == t


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("keep", [0.5, 1.0])
def test_the_count_grows_as_promised(exponent: float, keep: float) -> None:
    schedule = PowerSchedule(32, exponent, keep)
    for t in (2**16, 2**20):
        ages = np.arange(2, t // 32)
        budget = 64 + 32 * np.minimum(1.0, keep * ages ** (exponent - 1)).sum()
        assert schedule.count(t) == pytest.approx(budget, rel=0.01)
    growth = np.log2(schedule.count(2**23) / schedule.count(2**21)) / 2
    assert growth == pytest.approx(exponent, abs=0.03)


@given(schedules, st.integers(1, 40))
def test_lifetimes_tell_when_a_token_goes(schedule: PowerSchedule, chunks: int) -> None:
    until, c = schedule.lifetimes(chunks), schedule.chunk
    for current in range(chunks):
        held = until[: max(0, current - 1)] > current
        assert held.sum(axis=1).tolist() == schedule.survivors(current).tolist()
        assert (until[max(0, current - 1) : current + 1] > current).all()
    assert until.shape == (chunks, c)
    assert until.max(initial=0) <= chunks


@pytest.mark.parametrize("keep", [0.5, 2.0])
def test_exponent_zero_is_the_logarithm(keep: float) -> None:
    """As a global budget's floor(keep · c · ln(t/c))."""
    schedule, budget = PowerSchedule(32, 0.0, keep), GlobalBudget(32, "log", keep=keep)
    added = [law.count(2**20) - law.count(2**14) for law in (schedule, budget)]
    assert added[0] == pytest.approx(keep * 32 * np.log(2**6), abs=8)  # the evenness of the spread
    assert added[1] == pytest.approx(keep * 32 * np.log(2**6), abs=1)


@given(st.sampled_from([2, 8]), st.integers(1, 4), st.integers(0, 11), st.integers(1, 300))
def test_a_window_is_its_last_tokens_and_the_sinks(chunk: int, chunks: int, sinks: int, t: int) -> None:
    schedule = WindowSchedule(chunk, chunk * chunks, sinks)
    first = max(0, ((t - 1) // chunk - 1 - chunks) * chunk)
    assert schedule.positions(t).tolist() == [*range(min(sinks, first)), *range(first, t)]
    assert schedule.count(t) == len(schedule.positions(t))


@given(st.sampled_from([2, 8, 32]), st.floats(0.05, 1.0), st.floats(0.1, 9.0), st.integers(0, 9), st.integers(1, 3000))
def test_a_global_budget_only_grows(chunk: int, exponent: float, keep: float, sinks: int, t: int) -> None:
    budget = GlobalBudget(chunk, "power", exponent, keep, sinks=sinks)
    current = (t - 1) // chunk
    old = max(0, current - 1) * chunk
    assert budget.count(t) == t - old + min(old, max(sinks, int(keep * (current * chunk) ** exponent + 1e-9)))
    assert budget.budget(current + 1) >= budget.budget(current)
    assert budget.count(t) <= t


def test_bit_reversal_is_its_own_inverse() -> None:
    order = bit_reversal(64)
    assert order[order].tolist() == list(range(64))
    assert order[1] == 32
