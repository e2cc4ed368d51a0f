"""How many drawings are feasible, by which budget they are equal, and which change would make one feasible."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2m_design.condition import Demand
from l2m_design.errors import BadInput
from l2m_design.laws import PowerLaw
from l2m_design.search.space import counting
from l2m_design.search.space.feasibility import feasible, judged_by, nearest_change, refusal, wilson
from l2m_design.search.space.known import known_designs
from l2m_design.search.space.space import Space, check_space
from l2m_design.terms import Terms

SPACES = Path(__file__).parents[2] / "search_spaces"
KINDS = {
    "sparse": {
        "kind": "sparse_attention",
        "heads": 2,
        "kv_heads": 1,
        "head_dim": 8,
        "chunk": 8,
        "exponent": "$exponent",
    },
    "mamba2": {"kind": "mamba2", "d_state": "$d_state", "head_dim": 8},
}


def made(**fields: Any) -> Space:
    kinds = fields.pop("kinds", KINDS)
    choices = {"exponent": [0.3, 0.5], "d_state": [4, 8]} | fields.pop("choices", {})
    given = {"depth": 3, "parameters": 40000, "kinds": kinds, "choices": choices} | fields
    return Space.parse(given, "space.yaml")


def demand(beta: float, prefactor: float | None = None, length: int = 4096, **terms: Any) -> Demand:
    return Demand(
        PowerLaw(prefactor or 1.0, beta),
        Terms(**{"nats_per_element": 0.06, "length": length} | terms),
        prefactor is not None,
    )


def test_a_small_space_is_counted_whole() -> None:
    found = feasible(made(), judged_by(demand(0.4)), 64)
    assert found.exact
    assert (found.drawings, found.looked) == (4**3, 4**3)
    assert found.met == 4**3 - 3**3  # at least one layer grows as t^0.5
    assert found.plain()["feasible"] == found.met
    assert found.interval == (found.share, found.share)


def test_a_large_space_is_sampled_with_an_interval_that_holds_the_truth() -> None:
    found = feasible(made(depth=7, parameters=200_000), judged_by(demand(0.4)), 64)
    assert (found.drawings, found.looked, found.plain()["feasible"]) == (4**7, 500, None)
    low, high = found.interval
    assert low < 1 - (3 / 4) ** 7 < high


@given(st.floats(0.0, 0.6), st.sampled_from([None, 0.05, 0.5, 5.0]))
@settings(max_examples=20, deadline=None)
def test_a_drawing_is_feasible_as_the_condition_judges(beta: float, prefactor: float | None) -> None:
    asked = demand(max(beta, 0.01), prefactor)
    judge = judged_by(asked)
    for layers in list(counting.each(made(depth=2))):
        drawing = made(depth=2).fitted(layers, 64)
        assert judge(drawing) == asked.judge(drawing.state).met


def test_wilson_is_the_set_of_shares_that_the_sample_does_not_contradict() -> None:
    for met, looked in [(3, 10), (50, 500), (499, 500)]:
        for share in wilson(met, looked):
            z = (met / looked - share) / np.sqrt(share * (1 - share) / looked)
            assert abs(z) == pytest.approx(1.959964)
    assert wilson(0, 500)[0] == 0.0
    assert wilson(500, 500)[1] == 1.0


def test_exponents_may_lie_beside_the_demand() -> None:
    options = ["demand-0.2", "demand", "demand+0.1", 0.68, "demand+0.9"]
    space = made(choices={"exponent": options})
    assert space.resolved(0.6701).choices["exponent"] == [0.48, 0.68, 0.78, 1.0]
    assert space.resolved(0.1).choices["exponent"][0] == 0.05
    assert space.resolved(1.0).choices["exponent"] == [0.8, 1.0, 0.68]


@given(st.randoms(use_true_random=False), st.sampled_from([2e6, 4e6]))
@settings(max_examples=20, deadline=None)
def test_candidates_of_equal_flops_spend_the_same_a_token(rng: random.Random, flops: float) -> None:
    overrides = ["parameters=null", "equal=flops", f"flops_per_token={flops}", "flops_length=1024"]
    space = Space.load(SPACES / "hybrid.yaml", overrides).resolved(0.7)
    drawing = space.draw(lambda name, options: rng.choice(options), 256)
    assert drawing.flops(1024) / 1024 == pytest.approx(flops, rel=0.03)
    assert space.misses(drawing) == pytest.approx(abs(drawing.flops(1024) / 1024 / flops - 1))
    check_space(space, known_designs(space, 0.7), 256, "space.yaml")


def test_flops_that_cannot_be_met_name_the_field_and_the_layer() -> None:
    space = made(parameters=None, equal="flops", flops_per_token=10000)
    with pytest.raises(BadInput, match=r"space.yaml: flops_per_token: 10000 is too small for layer"):
        check_space(space, {}, 64, "space.yaml")


def test_a_misfit_misses_its_budget() -> None:
    space = made(parameters=100)
    misfit = space.least(lambda name, options: options[0], 64)
    assert space.misses(misfit) == misfit.parameters / 100 - 1


@pytest.mark.parametrize(
    ("fields", "asked", "said"),
    [
        ({}, demand(0.7), "choices.exponent: 0.7 instead of 0.5 would be enough"),
        ({"kinds": {"sparse": KINDS["sparse"] | {"exponent": 0.5}}}, demand(0.7), "kinds.sparse.exponent: 0.7 instead"),
        ({"kinds": {"mamba2": KINDS["mamba2"]}}, demand(0.7), "full attention in one layer"),
        ({"layout": "fixed", "pattern": ["mamba2"]}, demand(0.7), "full attention in one layer"),
        ({"layout": "fixed", "pattern": ["mamba2", "sparse"]}, demand(0.7), "choices.exponent: 0.7 instead of 0.5"),
        ({}, demand(0.5, 1e9), "none found: larger sizes"),
    ],
    ids=["option", "template", "kind", "pattern", "size in a pattern", "none"],
)
def test_the_nearest_change_is_named(fields: dict[str, Any], asked: Demand, said: str) -> None:
    assert nearest_change(made(**fields), asked, 64).startswith(said)


def test_the_named_size_is_the_smallest_doubling_that_helps() -> None:
    space = made(kinds={"mamba2": KINDS["mamba2"]}, depth=1)
    largest = max(space.fitted(layers, 64).state.elements(2048) for layers in counting.each(space))
    asked = demand(0.01, 0.06 * 1.5 * largest / 1024**0.01)
    found = nearest_change(space, asked, 64, ["level"])
    assert found == "choices.d_state: 16 instead of 8 would be enough"
    assert feasible(made(kinds={"mamba2": KINDS["mamba2"]}, depth=1, choices={"d_state": [4, 16]}),
                    judged_by(asked, ["level"]), 64).met  # fmt: skip


def test_the_named_length_is_the_longest_that_is_met() -> None:
    fixed = made(kinds={"mamba2": KINDS["mamba2"]})  # neither sixteen times its state nor one attention is enough
    said = nearest_change(fixed, demand(1.0, 30.0), 64, ["level"])
    assert said.startswith("condition.length: ")
    length = int(said.split()[1])
    met = [feasible(fixed, judged_by(demand(1.0, 30.0, n), ["level"]), 64).met for n in (length, length + 2)]
    assert met[0]
    assert not met[1]


def test_a_lower_end_of_beta_is_named_where_only_that_helps() -> None:
    law = PowerLaw(1.0, 0.3, draws=np.array([[1.0, 0.3, 0.0], [1e6, 0.3, 0.0]]), level=1.0)
    fixed = made(kinds={"mamba2": KINDS["mamba2"]})
    said = nearest_change(fixed, Demand(law, Terms(length=4096, nats_per_element=0.06)), 64, ["level"])
    assert said == "condition.end: value instead of upper would be enough"


def test_a_refusal_says_what_is_asked_what_is_offered_and_what_would_help() -> None:
    said = refusal(made(kinds={"mamba2": KINDS["mamba2"]}), demand(0.7), 64, "space.yaml")
    assert said == (
        "space.yaml: no architecture of this space meets the condition (required growth: t^0.70, available at most: "
        "none); "
        "smallest change: full attention in one layer would be enough"
    )
    level = refusal(made(), demand(0.5, 1e9), 64, "space.yaml")
    assert "the largest state is" in level


@pytest.mark.parametrize(("name", "most"), [("ssm_window", 600), ("catalogue", 3000)])
def test_a_refusal_tries_few_architectures(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a millisecond each: three seconds, of a space of millions."""
    space, fitted, tried = Space.load(SPACES / f"{name}.yaml").resolved(0.7), Space.fitted, list[Any]()
    monkeypatch.setattr(Space, "fitted", lambda self, *given: tried.append(given) or fitted(self, *given))
    refusal(space, demand(0.7, 1e9, 65536), 256, name)
    assert 0 < len(tried) <= most
