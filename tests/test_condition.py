"""The L²M condition: growth by exact exponents, level under a named assumption, reach by both."""

import math
from pathlib import Path

import numpy as np
import pytest

from l2m_design.architecture.schedules import FenwickLevels, GlobalBudget, PowerSchedule
from l2m_design.condition import Demand
from l2m_design.errors import BadInput
from l2m_design.laws import Fixed, Growth, PowerLaw, StateLaw, StateTerm, Tokens
from l2m_design.terms import REACH_LIMIT, Terms, read_capacity

LAW = PowerLaw(2.0, 0.7)


def ssm(elements: int) -> StateLaw:
    return StateLaw((StateTerm(elements, Fixed()),))


def attention(elements: int) -> StateLaw:
    return StateLaw((StateTerm(elements, Tokens()),))


def test_full_attention_meets_growth_and_fixed_states_do_not() -> None:
    demand = Demand(LAW, Terms())
    assert demand.judge(attention(64)).meets_growth
    assert not demand.judge(ssm(10**9)).meets_growth
    assert not demand.judge(StateLaw((StateTerm(64, Tokens(4096)),))).meets_growth


def test_adding_fixed_layers_never_takes_growth_away() -> None:
    """A slope fitted to state(L) would fall from 1.00 to 0.36 here and reject the hybrid."""
    hybrid = attention(2) + ssm(10**6)
    assert Demand(LAW, Terms()).judge(hybrid).meets_growth


CONSTANT = PowerLaw(0.0, 0.0, 30.0, form="constant")
LOGARITHM = PowerLaw(3.0, 0.0, 2.0, form="logarithm")


@pytest.mark.parametrize(
    ("growth", "none", "log", "power"),
    [
        (Fixed(), True, False, False),
        (Tokens(4096), True, False, False),
        (FenwickLevels(), True, True, False),
        (PowerSchedule(32, 0.0), True, True, False),
        (GlobalBudget(32, "log"), True, True, False),
        (GlobalBudget(32, "fixed", window=64), True, False, False),
        (PowerSchedule(32, 0.3), True, True, False),
        (Tokens(), True, True, True),
    ],
)
def test_a_logarithm_is_less_than_any_power_and_more_than_nothing(
    growth: Growth, none: bool, log: bool, power: bool
) -> None:
    state = StateLaw((StateTerm(64, growth),))
    met = [Demand(law, Terms()).judge(state).meets_growth for law in (CONSTANT, LOGARITHM, LAW)]
    assert met == [none, log, power]
    assert [Demand(law, Terms()).growth for law in (CONSTANT, LOGARITHM, LAW)] == ["none", "log t", "t^0.70"]


def test_a_fixed_state_that_is_large_enough_for_a_constant_reaches_without_end() -> None:
    demand = Demand(CONSTANT, Terms(nats_per_element=0.06))
    large, small = demand.judge(ssm(500)), demand.judge(ssm(499))
    assert large.met
    assert large.reach_effective is None
    assert small.meets_growth
    assert not small.meets_level


def test_a_fixed_state_reaches_as_far_as_the_logarithm_allows() -> None:
    demand = Demand(LOGARITHM, Terms(nats_per_element=0.06, shortest=4))
    found = demand.judge(ssm(int((3 * math.log(5000) + 2) / 0.06) + 1))
    assert not found.meets_growth
    assert found.reach_effective == pytest.approx(10_000, rel=0.05)


@pytest.mark.parametrize(("exponent", "met"), [(0.69, False), (0.7, True), (0.71, True)])
def test_sparse_keys_meet_growth_from_beta_on(exponent: float, met: bool) -> None:
    law = StateLaw((StateTerm(64, PowerSchedule(32, exponent)),))
    assert Demand(LAW, Terms()).judge(law).meets_growth is met


def test_the_upper_end_of_the_interval_is_the_careful_default() -> None:
    law = PowerLaw(2.0, 0.7, draws=np.array([[2.0, 0.6, 0.0], [2.0, 0.8, 0.0]]), level=0.999)
    ends = {end: Demand(law, Terms(end=end)).exponent for end in ("upper", "value", "lower")}
    assert Terms().end == "upper"
    assert ends["lower"] == pytest.approx(0.6, abs=1e-3)
    assert ends["value"] == 0.7
    assert ends["upper"] == pytest.approx(0.8, abs=1e-3)


def test_no_more_than_full_attention_is_ever_asked() -> None:
    law = PowerLaw(2.0, 0.97, draws=np.array([[2.0, 0.9, 0.0], [2.0, 1.1, 0.0]]))
    assert Demand(law, Terms()).exponent == 1.0
    assert Demand(law, Terms()).judge(attention(64)).meets_growth


def test_slack_compares_the_state_at_half_the_context_with_the_asked_elements() -> None:
    demand = Demand(LAW, Terms(nats_per_element=0.1))
    asked = 2.0 * 512**0.7 / 0.1
    assert demand.slack(ssm(5000), 1024) == pytest.approx(math.log(5000 / asked))


def test_a_fixed_state_reaches_exactly_as_far_as_its_elements_allow() -> None:
    demand = Demand(LAW, Terms(nats_per_element=0.1))
    reach = demand.judge(ssm(5000)).reach_effective
    exact = 2 * (5000 * 0.1 / 2.0) ** (1 / 0.7)
    assert reach is not None
    assert exact * 0.99 <= reach <= exact


def test_growth_fast_enough_has_no_end_and_the_hard_bound_reaches_further() -> None:
    verdict = Demand(LAW, Terms(nats_per_element=0.06)).judge(attention(64))
    assert verdict.reach_effective is None
    small = Demand(PowerLaw(20.0, 0.7), Terms()).judge(ssm(5000))
    assert small.reach_effective is not None
    assert small.reach_hard is None or small.reach_hard > small.reach_effective


def test_a_state_too_small_from_the_start_reaches_nothing() -> None:
    verdict = Demand(PowerLaw(1000.0, 0.7), Terms()).judge(ssm(10))
    assert verdict.reach_effective == 0
    assert not verdict.meets_level


def test_coverage_to_a_length_and_growth_without_end_are_two_answers() -> None:
    verdict = Demand(LAW, Terms(length=4096, nats_per_element=0.06)).judge(ssm(10**6))
    assert verdict.meets_level
    assert not verdict.meets_growth
    assert not verdict.met


def test_without_a_prefactor_the_level_is_not_judged() -> None:
    verdict = Demand(LAW, Terms(), has_level=False).judge(attention(64))
    assert verdict.met
    assert verdict.plain()["meets_level"] is None
    assert verdict.plain()["reach_tokens"] == {"hard": None, "effective": None}


def test_the_hard_bound_is_bits_times_ln_two() -> None:
    assert Demand(LAW, Terms(dtype="bfloat16")).hard_nats == pytest.approx(16 * math.log(2))
    assert Demand(LAW, Terms(dtype="float8")).hard_nats == pytest.approx(16 * math.log(2))  # states stay in bfloat16
    assert Demand(LAW, Terms(kv_dtype="float32")).hard_nats == pytest.approx(32 * math.log(2))


def test_the_grid_runs_to_the_target_and_no_further() -> None:
    assert Demand(LAW, Terms()).grid(1000) == [256, 512, 1000]
    assert Demand(LAW, Terms()).grid(REACH_LIMIT)[-1] == REACH_LIMIT


def test_kinds_with_eta_of_their_own_count_by_it() -> None:
    hybrid = ssm(5000).of_kind("mamba2") + attention(64).of_kind("attention")
    demand = Demand(LAW, Terms(nats_per_element=0.1, nats_by_kind={"mamba2": 0.002}))
    held = 5000 * 0.002 + 64 * 512 * 0.1
    assert demand.slack(hybrid, 1024) == pytest.approx(math.log(held / (2.0 * 512**0.7)))


def test_one_eta_for_every_kind_changes_nothing() -> None:
    law = ssm(5000).of_kind("mamba2")
    uniform, by_kind = (
        Demand(LAW, Terms(nats_per_element=0.1, nats_by_kind=own)).judge(law) for own in ({}, {"mamba2": 0.1})
    )
    assert uniform.reach_effective == by_kind.reach_effective
    assert uniform.slack is not None
    assert by_kind.slack is not None
    assert list(uniform.slack.values()) == pytest.approx(list(by_kind.slack.values()))


def test_a_smaller_eta_shortens_the_effective_reach_and_leaves_the_hard_one() -> None:
    law, demand = ssm(50_000).of_kind("mamba2"), PowerLaw(20.0, 0.7)
    assumed = Demand(demand, Terms(nats_per_element=0.06)).judge(law)
    measured = Demand(demand, Terms(nats_per_element=0.06, nats_by_kind={"mamba2": 0.03})).judge(law)
    assert measured.reach_effective is not None
    assert assumed.reach_effective is not None
    assert 0 < measured.reach_effective < assumed.reach_effective
    assert measured.reach_hard == assumed.reach_hard
    assert measured.growth == assumed.growth


def test_the_eta_of_a_kind_that_is_not_there_changes_nothing() -> None:
    law = ssm(5000).of_kind("mamba2")
    one = Demand(LAW, Terms(nats_per_element=0.06)).judge(law)
    assert Demand(LAW, Terms(nats_per_element=0.06, nats_by_kind={"window": 1e-6})).judge(law) == one


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mamba3": 0.1}, "condition: nats_by_kind: unknown mixer type 'mamba3'; did you mean 'mamba"),
        ({"xyz": 0.1}, "allowed: attention, window"),
        ({"mamba2": 0.0}, "nats_by_kind.mamba2"),
        ({"mamba2": math.nan}, "nats_by_kind.mamba2"),
    ],
)
def test_kinds_are_known_and_their_nats_positive(given: dict[str, float], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        Terms.parse({"nats_by_kind": given}, "condition")
    assert said in str(refused.value)


def test_one_number_for_all_kinds_is_written_as_it_always_was() -> None:
    assert set(Terms(nats_per_element=0.06).plain()) == {"length", "shortest", "end", "nats_per_element", "dtype"}
    measured = Terms(nats_by_kind={"mamba2": 0.01})
    assert Terms.parse(measured.plain(), "again") == measured


@pytest.mark.parametrize("text", ["beta: 0.7", "[1, 2]", "nats_by_kind: 3", "nats_by_kind: {a: 1}\nlength: 5"])
def test_a_file_that_calibration_did_not_write_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "eta.yaml").write_text(text)
    with pytest.raises(BadInput, match=r"eta\.yaml"):
        read_capacity(tmp_path / "eta.yaml")


def test_the_capacities_that_come_with_the_package_are_the_default_and_ordered() -> None:
    terms = Terms()
    assert {"attention", "mamba2", "gated_deltanet"} <= set(terms.nats_by_kind)
    for kind in (*terms.nats_by_kind, None):
        low, value, high = terms.capacity(kind)
        assert 0 < low <= value <= high
    assert Terms.parse(terms.plain(), "again") == terms


def test_enough_state_is_decided_by_both_ends_of_capacity_and_amount() -> None:
    draws = np.array([[1.0, 0.5, 0.0], [4.0, 0.5, 0.0]])
    law = PowerLaw(2.0, 0.5, 0.0, draws)
    terms = Terms(length=1024, nats_per_element=0.1, nats_range={"other": (0.01, 1.0)})
    required = law.at(512)
    for elements, answer in (
        (required.high / 0.01 * 1.01, "yes"),
        (required.high / 0.01 * 0.99, "not decided"),
        (required.low / 1.0 * 1.01, "not decided"),
        (required.low / 1.0 * 0.99, "no"),
    ):
        verdict = Demand(law, terms).judge(ssm(math.ceil(elements) if answer != "no" else int(elements)))
        assert verdict.enough is not None
        assert verdict.enough.answer == verdict.plain()["enough_state"] == answer
        assert verdict.meets_level is {"yes": True, "no": False, "not decided": None}[answer]
        assert verdict.enough.length == 1024


def test_one_given_capacity_decides_by_itself_at_the_judged_end() -> None:
    draws = np.array([[1.0, 0.5, 0.0], [4.0, 0.5, 0.0]])
    demand = Demand(PowerLaw(2.0, 0.5, 0.0, draws), Terms(length=1024, nats_per_element=0.1))
    needed = demand.nats(1024) / 0.1
    answers = [demand.judge(ssm(n)).enough for n in (math.ceil(needed), math.floor(needed))]
    assert [answer.answer for answer in answers if answer] == ["yes", "no"]


def test_kinds_that_are_not_given_have_what_was_measured_unless_one_number_is() -> None:
    shipped = Terms()
    own = Terms.parse({"nats_by_kind": {"mamba2": 0.5}}, "condition")
    assert own.capacity("mamba2") == (0.5, 0.5, 0.5)
    assert own.capacity("attention") == shipped.capacity("attention")
    alone = Terms.parse({"nats_per_element": 0.2, "nats_by_kind": {"mamba2": 0.5}}, "condition")
    assert alone.capacity("attention") == (0.2, 0.2, 0.2)


def test_a_source_of_nothing_never_makes_a_state_too_small() -> None:
    draws = np.array([[0.0, 0.0, end] for end in (0.0, 30.0) for _ in range(50)])
    demand = Demand(PowerLaw(0.0, 0.0, 1.0, draws, form="constant"), Terms())
    assert demand.judge(ssm(10).of_kind("mamba2")).enough is not None
    assert demand.judge(ssm(10).of_kind("mamba2")).meets_level is None
    assert demand.judge(ssm(10).of_kind("mamba2")).met


def test_a_beta_alone_cannot_say_whether_a_state_is_enough() -> None:
    assert Demand(LAW, Terms(), has_level=False).judge(ssm(5)).enough is None


def test_ranges_are_in_order_and_of_known_kinds() -> None:
    with pytest.raises(BadInput, match=r"window: 0.15 does not lie in \[0.2, 0.1\]"):
        Terms.parse({"nats_by_kind": {"window": 0.15}, "nats_range": {"window": [0.2, 0.1]}}, "condition")
    with pytest.raises(BadInput, match=r"attention: 1 does not lie in \[0.0001, 0.0002\]"):
        Terms.parse({"nats_by_kind": {"attention": 1.0}, "nats_range": {"attention": [1e-4, 2e-4]}}, "condition")
    with pytest.raises(BadInput, match="log_linear has no value in nats_by_kind"):
        Terms.parse({"nats_range": {"log_linear": [0.1, 0.2]}}, "condition")
    with pytest.raises(BadInput, match="did you mean 'mamba"):
        Terms.parse({"nats_range": {"mamba3": [0.1, 0.2]}}, "condition")


def capacity(state: StateLaw, t: int, by_kind: dict[str, float]) -> float:
    return Demand(LAW, Terms(nats_per_element=0.06, nats_by_kind=by_kind)).capacity(state, t)


def mixed() -> StateLaw:
    return ssm(640).of_kind("mamba2") + attention(64).of_kind("attention") + ssm(32)


@pytest.mark.parametrize("t", [1, 100, 4096])
def test_one_eta_for_all_makes_capacity_elements_times_eta(t: int) -> None:
    assert capacity(mixed(), t, {}) == pytest.approx(mixed().elements(t) * 0.06)
    alike = {"mamba2": 0.06, "attention": 0.06}
    assert capacity(mixed(), t, alike) == pytest.approx(mixed().elements(t) * 0.06)


def test_capacities_add_term_by_term() -> None:
    own = {"mamba2": 0.01, "attention": 0.002}
    parts = [capacity(StateLaw((term,)), 300, own) for term in mixed().terms]
    assert capacity(mixed(), 300, own) == pytest.approx(sum(parts))


def test_the_eta_of_a_kind_scales_only_its_share() -> None:
    once, twice = (capacity(mixed(), 300, {"mamba2": nats}) for nats in (0.01, 0.02))
    assert twice - once == pytest.approx(0.01 * 640)
