"""Sparse schedules: exact counts, a slow twin, monotone eviction, the promised growth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2m_design.architecture.schedules import PowerSchedule, bit_reversal

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


def test_bit_reversal_is_its_own_inverse() -> None:
    order = bit_reversal(64)
    assert order[order].tolist() == list(range(64))
    assert order[1] == 32
