"""Laws of growth: exact sums for states, power laws with bands for data."""

from typing import Any

import numpy as np
import pytest

from l2m_design.errors import BadInput
from l2m_design.laws import Dtypes, Fixed, PowerLaw, StateLaw, StateTerm, Tokens

SSM = StateLaw((StateTerm(1000, Fixed()),))
ATTENTION = StateLaw((StateTerm(64, Tokens()),))
WINDOW = StateLaw((StateTerm(64, Tokens(128)),))


def test_laws_add_term_by_term() -> None:
    assert (SSM + ATTENTION + WINDOW).elements(200) == 1000 + 64 * 200 + 64 * 128


def test_the_exponent_is_that_of_the_fastest_term_however_large_the_others() -> None:
    heavy = StateLaw((StateTerm(10**9, Fixed()),))
    assert (heavy + ATTENTION).exponent == 1.0
    assert (SSM + WINDOW).exponent == 0.0
    assert StateLaw().exponent == 0.0


def test_bytes_follow_the_dtype() -> None:
    assert ATTENTION.bytes(10, "float32") == 2 * ATTENTION.bytes(10, "bfloat16") == 4 * 640


@pytest.mark.parametrize(("dtype", "block"), [("float8", 32), ("int8", 32), ("q8_0", 34), ("q4_0", 18)])
def test_a_dtype_of_caches_leaves_recurrent_states_as_they_are(dtype: str, block: int) -> None:
    own = StateLaw((StateTerm(1000, Fixed(), "float32"),))
    for cache in (ATTENTION, WINDOW):
        assert cache.bytes(128, dtype) == 64 * 128 * block // 32
        assert (SSM + own + cache).bytes(128, dtype) == 2 * 1000 + 4 * 1000 + cache.bytes(128, dtype)
    copies = StateLaw((StateTerm(64, Tokens(), kind="log_linear"),))
    assert copies.bytes(10, dtype) == copies.bytes(10, "bfloat16")


def test_an_asked_dtype_of_states_overrides_their_own_and_leaves_the_cache() -> None:
    law = StateLaw((StateTerm(1000, Fixed(), "float32"), StateTerm(64, Tokens())))
    dtypes = Dtypes("float32", "float8", "float16")
    assert law.bytes(10, dtypes) == 2 * 1000 + 640
    assert (law.dtypes_in(dtypes, cached=True), law.dtypes_in(dtypes, cached=False)) == (["float8"], ["float16"])


def test_marginal_bytes_are_those_of_the_growing_terms() -> None:
    assert (SSM + ATTENTION).bytes_per_token(4096) == 128.0
    assert SSM.bytes_per_token(4096) == 0.0
    assert ATTENTION.bytes_per_token(1) == 128.0


def test_a_given_power_law_has_no_band() -> None:
    at = PowerLaw(2.0, 0.5).at(100)
    assert at.value == at.low == at.high == pytest.approx(20.0)


def test_the_band_of_a_power_law_comes_from_joint_draws() -> None:
    draws = np.array([[2.0, 0.5, 0.0], [1.0, 0.6, 0.0], [4.0, 0.4, 0.0]])
    law = PowerLaw(2.0, 0.5, draws=draws, level=0.999)
    crossing, far = law.at(1024), law.at(2**20)
    assert crossing.high / crossing.low < far.high / far.low
    assert law.beta.low == pytest.approx(0.4, abs=1e-3)


def test_a_power_law_survives_plain_data() -> None:
    law = PowerLaw(2.0, 0.5, -0.3, np.array([[2.0, 0.5, -0.3], [2.1, 0.49, -0.2]]), 0.9)
    again = PowerLaw.of_plain(law.plain())
    assert again == law
    np.testing.assert_allclose(again.draws, law.draws)


def mixed() -> StateLaw:
    return SSM.of_kind("mamba2") + ATTENTION.of_kind("attention") + WINDOW


def test_no_state_is_held_before_the_first_token() -> None:
    with pytest.raises(BadInput, match="at least one"):
        ATTENTION.elements(0)


def test_laws_that_count_alike_are_equal_whatever_holds_them() -> None:
    assert SSM.of_kind("mamba2") == SSM
    assert mixed().kinds == ("mamba2", "attention")


def test_a_law_counted_in_other_units_says_the_same_of_the_same_text() -> None:
    draws = np.array([[3.0, 0.6, -1.0], [3.5, 0.7, -2.0]])
    law = PowerLaw(3.2, 0.65, -1.5, draws)
    tokens = law.counted_in(3.1)
    assert tokens.exponent == law.exponent
    for n in (10.0, 1000.0):
        here, there = tokens.at(n), law.at(3.1 * n)
        assert (here.value, here.low, here.high) == pytest.approx((there.value, there.low, there.high))


@pytest.mark.parametrize(("form", "prefactor", "words"), [("logarithm", 3.0, "3 ln n +2"), ("constant", 0.0, "2")])
def test_laws_without_an_exponent_survive_plain_data_and_other_units(form: Any, prefactor: float, words: str) -> None:
    law = PowerLaw(prefactor, 0.0, 2.0, np.array([[prefactor, 0.0, 1.9], [prefactor, 0.0, 2.1]]), form=form)
    again = PowerLaw.of_plain(law.plain())
    assert (again, again.formula()) == (law, words)
    for read in (law, again):
        assert read.at(1000).value == pytest.approx(prefactor * np.log(1000) + 2)
    assert law.counted_in(4.0).at(100).low == pytest.approx(law.at(400).low)
    assert law.counted_in(4.0).at(100).value == pytest.approx(law.at(400).value)
    assert law.beta.high == 0.0
    with pytest.raises(ValueError, match="form"):
        PowerLaw.of_plain(law.plain() | {"form": "cubic"})
