"""Advice: who follows it meets the condition with less, or at last meets it; a step less would not."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from l2m_design.advice import Change, Stack, advise, then
from l2m_design.advice.lack import HEAD
from l2m_design.advice.least import least, least_above, two_digits
from l2m_design.advice.practice import costs, practised
from l2m_design.advice.surgery import THIN_CHUNK, grown, is_recurrent, opened, shortened, thinned, windowed
from l2m_design.architecture import Architecture
from l2m_design.architecture.schedules import PowerSchedule
from l2m_design.condition import Demand
from l2m_design.laws import Fixed, PowerLaw, StateLaw, StateTerm, Tokens
from l2m_design.report.advice import advice, state_by_type
from l2m_design.terms import Terms

KEYS = {"heads": 4, "head_dim": 8}
FULL = st.builds(lambda kv: {"kind": "attention", "kv_heads": kv} | KEYS, st.sampled_from([1, 2, 4]))
WINDOW = st.builds(lambda layer, window: layer | {"window": window}, FULL, st.sampled_from([16, 128, 1024]))
SPARSE = st.builds(
    lambda exponent, keep: (
        {"kind": "sparse_attention", "kv_heads": 2, "chunk": 16, "exponent": exponent, "keep": keep} | KEYS
    ),
    st.sampled_from([0.3, 0.6, 0.9]),
    st.sampled_from([0.5, 1.0]),
)
FIXED = st.builds(lambda size: {"kind": "mamba2", "d_state": size, "head_dim": 8}, st.sampled_from([4, 64]))
DRAWINGS = st.builds(
    lambda layers: Architecture.parse({"vocabulary": 9, "width": 16, "layers": layers}, "drawn"),
    st.lists(st.one_of(FULL, WINDOW, SPARSE, FIXED), min_size=1, max_size=6),
)
DEMANDS = st.builds(
    lambda prefactor, beta, length: Demand(PowerLaw(prefactor, beta), Terms(nats_per_element=0.06, length=length)),
    st.sampled_from([0.01, 1.0, 10.0, 50.0]),
    st.floats(0.05, 1.0),
    st.sampled_from([300, 4096, 65536]),
)
LAWFUL = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


def stack_of(drawing: Architecture) -> Stack:
    return Stack.of(drawing.laws, drawing.width, drawing.outside)


def followed(drawing: Architecture, change: Change) -> Architecture:
    """The drawing as somebody draws it who has read the advice."""
    data = drawing.plain()
    for index in (*change.layers, *change.thinned):
        layer = data["layers"][index]
        data["layers"][index] = _redrawn(layer, change, index in change.thinned)
    return Architecture.parse(data, "followed")


def _redrawn(layer: dict[str, Any], change: Change, thinned: bool) -> dict[str, Any]:
    heads = 4 if layer["kind"] != "mamba2" else change.slot_elements // 16 if change.slot_elements else 0
    own = {"heads": heads, "head_dim": 8, "kv_heads": layer.get("kv_heads", heads)}
    match "sparse" if thinned else change.to:
        case "sparse":
            return {"kind": "sparse_attention", "chunk": 32, "exponent": change.exponent, "keep": change.keep} | own
        case "full":
            return {"kind": "attention"} | own
        case "window":
            return {"kind": "attention", "window": change.window_tokens} | own
        case "longer_window":
            return layer | {"window": max(layer["window"], change.window_tokens or 0)}
        case "shorter_window":
            return layer | {"window": min(layer["window"], change.window_tokens or 0)}
        case "larger_budget":
            steep = max(layer["exponent"], change.exponent or 0)
            return layer | {"exponent": steep, "keep": layer["keep"] * (change.factor or 0)}
    raise AssertionError(change.to)


def drawable(change: Change) -> bool:
    return change.to in ("sparse", "full", "window", "shorter_window", "longer_window", "larger_budget")


@given(DRAWINGS, DEMANDS)
@LAWFUL
def test_who_keeps_more_than_asked_may_follow_and_holds_less_and_still_meets_the_condition(
    drawing: Architecture, demand: Demand
) -> None:
    assume(demand.judge(drawing.state).met)
    for change in advise(stack_of(drawing), demand):
        assert demand.judge(change.after.state).met
        assert change.elements(demand) < drawing.state.elements(demand.terms.length)
        if drawable(change):
            assert followed(drawing, change).state.merged() == change.after.state


@given(DRAWINGS, DEMANDS)
@LAWFUL
def test_one_growing_layer_fewer_or_one_token_less_would_not_do(drawing: Architecture, demand: Demand) -> None:
    stack = stack_of(drawing)
    assume(demand.judge(drawing.state).met)
    for change in advise(stack, demand):
        if change.to == "shorter_window" and change.window_tokens and change.window_tokens > 1:
            shorter = followed(drawing, replace(change, window_tokens=change.window_tokens - 1))
            assert not demand.judge(shorter.state).meets_level
        if change.to == "smaller_state" and round((change.factor or 0) * 100) > 1:
            hundredths = round((change.factor or 0) * 100) - 1
            smaller = {i: grown(stack.layers[i], hundredths, is_recurrent) for i in change.layers}
            assert not demand.judge(stack.changed(smaller).state).meets_level
        if change.to != "window" or change.thinned:
            continue
        growing = [i for i, law in enumerate(change.after.layers) if law.exponent >= demand.exponent]
        assert len(growing) == 1
        last = StateLaw((StateTerm(10**9, Fixed()),))
        assert not demand.judge(change.after.changed({growing[0]: last}).state).meets_growth
        if change.window_tokens and change.window_tokens > 1:
            shorter = followed(drawing, replace(change, window_tokens=change.window_tokens - 1))
            assert not demand.judge(shorter.state).meets_level


@given(DRAWINGS, DEMANDS)
@LAWFUL
def test_who_lacks_something_and_follows_gets_what_was_said(drawing: Architecture, demand: Demand) -> None:
    assume(not demand.judge(drawing.state).met)
    changes = advise(stack_of(drawing), demand)
    for change in changes:
        after = followed(drawing, change).state.merged() if drawable(change) else change.after.state
        assert after == change.after.state
        verdict, said = demand.judge(after), change.plain(demand)
        assert (said["meets_growth"], said["meets_level"]) == (verdict.meets_growth, verdict.meets_level)
        assert verdict.meets_level
        assert verdict.met or change.to in ("longer_window", "larger_state", "larger_all")
        if change.to == "longer_window":
            shorter = followed(drawing, replace(change, window_tokens=(change.window_tokens or 0) - 1))
            assert not demand.judge(shorter.state).meets_level
    assert changes == sorted(changes, key=lambda c: (not c.after.meets(demand), c.elements(demand)))


@given(DRAWINGS, DEMANDS)
@LAWFUL
def test_a_layer_fewer_that_becomes_full_attention_would_not_do(drawing: Architecture, demand: Demand) -> None:
    stack = stack_of(drawing)
    for change in advise(stack, demand):
        if change.to == "full":
            fewer = {i: change.after.layers[i] for i in change.layers[:-1]}
            kept_alike = len({stack.layers[i] for i in change.layers}) == 1
            assert not kept_alike or not stack.changed(fewer).meets(demand)


@given(DRAWINGS, DEMANDS)
@LAWFUL
def test_every_change_is_said_with_the_state_it_leaves(drawing: Architecture, demand: Demand) -> None:
    stack, kinds = stack_of(drawing), [layer.state_kind for layer in drawing.layers]
    changes = advise(stack, demand)
    said = advice(stack, kinds, demand, changes)
    assert said[0].startswith("State by layer type at ")
    assert "None" not in " ".join(said)
    assert sum(row["share"] for row in state_by_type(stack, kinds, demand)) == pytest.approx(1)
    assert sum("become" in sentence and ";" in sentence for sentence in said) >= len(changes) - 1


def test_of_32_alike_layers_31_may_become_windows_and_the_condition_cares_for_no_size() -> None:
    stack = Stack((StateLaw((StateTerm(2048, Tokens(), kind="attention"),)),) * 32, 2048)
    demand = Demand(PowerLaw(2.0, 0.76), Terms(nats_per_element=0.06, length=131072))
    windows = next(c for c in advise(stack, demand) if c.to == "window" and not c.thinned)
    assert (len(windows.layers), windows.window_tokens) == (31, 1)
    said = " ".join(advice(stack, ["attention"] * 32, demand, advise(stack, demand)))
    assert "31 of its 32 attention layers may become windows or fixed states of any size" in said


def test_windows_are_shortened_with_what_becomes_one() -> None:
    full, window = (
        StateLaw((StateTerm(4096, Tokens(cap), kind=kind),)) for cap, kind in ((None, "attention"), (1024, "window"))
    )
    stack, demand = Stack((window, window, full) * 3, 4096), Demand(PowerLaw(2.0, 0.76), Terms(nats_per_element=0.06))
    best, *others = advise(stack, demand)
    assert (best.thinned, len(best.layers), best.window_tokens) == ((8,), 8, 1)
    assert best.elements(demand) < min(change.elements(demand) for change in others)
    assert best.elements(demand) == 4096 * (8 + PowerSchedule(THIN_CHUNK, 0.76).count(65536))
    said = advice(stack, ["window", "window", "attention"] * 3, demand, [best])
    become = "all 6 window layers and 2 of its 3 attention layers may become windows or fixed states of any size"
    assert any(become in sentence for sentence in said)


def law(kind: str, elements: int, growth: Any) -> StateLaw:
    return StateLaw((StateTerm(elements, growth, kind=kind),))


SIZES = st.sampled_from([16, 64, 256])
LAWS = st.one_of(
    st.builds(lambda size: law("attention", size, Tokens()), SIZES),
    st.builds(lambda size, cap: law("window", size, Tokens(cap)), SIZES, st.sampled_from([64, 1024])),
    st.builds(lambda size: law("mamba2", 8 * size, Fixed()), SIZES),
)


@given(st.lists(LAWS, min_size=1, max_size=3), DEMANDS)
@LAWFUL
def test_of_all_ways_to_thin_shorten_and_replace_none_holds_a_tenth_less(laws: list[StateLaw], demand: Demand) -> None:
    stack, exponent = Stack(tuple(laws), 64), two_digits(demand.exponent)
    assume(stack.meets(demand) and exponent < 1)
    best = min((c.elements(demand) for c in advise(stack, demand)), default=stack.state.elements(demand.terms.length))
    tokens = [1, *(2**j for j in range(6, 16))]
    ways = []
    for one in laws:
        become = windowed if one.exponent else shortened
        thin = [thinned(one, exponent)] if one.exponent else []
        ways.append([one, *thin, *(become(one, n) for n in tokens)])
    for chosen in itertools.product(*ways):
        other = Stack(chosen, 64)
        assert other.state.elements(demand.terms.length) >= 0.9 * best or not other.meets(demand)


@pytest.mark.parametrize(("prefactor", "wider"), [(0.01, False), (30.0, False), (1000.0, True)])
def test_what_takes_the_place_of_a_recurrence_is_no_wider_than_it_must_be(prefactor: float, wider: bool) -> None:
    stack = Stack((StateLaw((StateTerm(40_000, Fixed(), kind="mamba2"),)),) * 3, 5120)
    demand = Demand(PowerLaw(prefactor, 0.7), Terms(nats_per_element=0.06))
    changes = [change for change in advise(stack, demand) if change.to in ("full", "sparse")]
    assert changes
    assert any((change.slot_elements or 0) > HEAD for change in changes) == wider
    for change in changes:
        assert change.slot_elements is not None
        assert change.slot_elements % HEAD == 0
        narrower = opened(stack.layers[0], change.slot_elements - HEAD, change.exponent)
        assert not stack.changed(dict.fromkeys(change.layers, narrower)).meets(demand)


def test_a_window_must_become_attention_and_small_differences_are_shares() -> None:
    window = StateLaw((StateTerm(64, Tokens(4096), kind="window"),))
    stack, demand = Stack((window,) * 32, 64), Demand(PowerLaw(2.0, 0.7), Terms(nats_per_element=0.06))
    said = " ".join(advice(stack, ["window"] * 32, demand, advise(stack, demand)))
    assert "1 of its 32 window layers must become attention that caches about" in said
    assert "% more" in said
    assert not re.search(r"\b1 times", said)


def test_what_has_just_enough_has_nothing_to_spare() -> None:
    stack = Stack((StateLaw((StateTerm(64, Tokens(), kind="attention"),)),), 64)
    demand = Demand(PowerLaw(2.0, 1.0), Terms(nats_per_element=0.06))
    assert advise(stack, demand) == []
    assert advice(stack, ["attention"], demand, [])[-1].startswith("No known change needs less state")


@given(DRAWINGS, DEMANDS)
@LAWFUL
def test_after_the_first_change_the_others_may_let_go(drawing: Architecture, demand: Demand) -> None:
    stack = stack_of(drawing)
    changes = advise(stack, demand)
    if later := then(stack, demand, changes):
        assert not stack.meets(demand)
        assert later.after.meets(demand)
        assert later.elements(demand) < changes[0].elements(demand)
        untouched = changes[0].layers
        assert [later.after.layers[i] for i in untouched] == [changes[0].after.layers[i] for i in untouched]


def test_one_window_that_becomes_attention_frees_the_others() -> None:
    window = StateLaw((StateTerm(64, Tokens(4096), kind="window"),))
    stack, demand = Stack((window,) * 32, 64), Demand(PowerLaw(0.1, 0.7), Terms(nats_per_element=0.06))
    said = advice(stack, ["window"] * 32, demand, advise(stack, demand))
    assert said[-2].startswith("After the first change: 31 of its 32 window layers may be shorter, if training ")


def test_layers_that_read_the_cache_of_another_do_not_pay() -> None:
    stack = Stack((StateLaw((StateTerm(64, Tokens(), kind="attention"),)), StateLaw(), StateLaw()), 64)
    (row,) = state_by_type(
        stack,
        ["attention", "attention", "nothing"],
        Demand(PowerLaw(2.0, 0.7), Terms(nats_per_element=0.06, length=1024)),
    )
    assert row == {"kind": "attention", "layers": 1, "state_bytes": 2 * 64 * 1024, "share": 1.0}


def test_a_recurrent_state_larger_than_the_level_needs_may_be_smaller() -> None:
    full, fixed = law("attention", 64, Tokens()), law("mamba2", 2**20, Fixed())
    stack, demand = Stack((full, fixed, fixed), 64), Demand(PowerLaw(20.0, 0.9), Terms(nats_per_element=0.06))
    smaller = next(change for change in advise(stack, demand) if change.to == "smaller_state")
    assert (smaller.layers, smaller.factor) == ((1, 2), 0.85)
    said = " ".join(advice(stack, ["attention", "mamba2", "mamba2"], demand, [smaller]))
    assert "the recurrent state of all 2 mamba2 layers may be 0.85 times as large" in said


def test_without_a_level_growth_alone_is_advised() -> None:
    stack = Stack((StateLaw((StateTerm(64, Fixed(), kind="mamba2"),)),) * 3, 64)
    changes = advise(stack, Demand(PowerLaw(1.0, 0.7), Terms(nats_per_element=0.06), has_level=False))
    assert {(change.to, len(change.layers)) for change in changes} == {("full", 1), ("sparse", 1)}


def test_a_model_that_keeps_nothing_is_told_so() -> None:
    stack, demand = Stack((StateLaw(),), 8), Demand(PowerLaw(1.0, 0.7), Terms(nats_per_element=0.06))
    assert advice(stack, ["nothing"], demand, advise(stack, demand))[-1] == "The model has no state that could grow."


@given(st.integers(1, 10**6), st.integers(1, 1000), st.integers(1, 10**6))
def test_the_least_is_enough_and_one_less_is_not(wanted: int, low: int, high: int) -> None:
    found = least(lambda n: n >= wanted, low, high)
    assert found == (max(low, wanted) if low <= high and wanted <= high else None)
    near = least_above(lambda n: n >= wanted, low, 10**6)
    assert near == max(low, wanted)


@given(st.floats(0.001, 1.0))
def test_two_digits_are_never_below_and_hardly_above(exponent: float) -> None:
    assert exponent <= two_digits(exponent) < exponent + 0.01 + 1e-9


def test_before_what_the_condition_allows_stands_what_others_do_and_what_it_costs() -> None:
    stack = Stack((StateLaw((StateTerm(2048, Tokens(), kind="attention"),)),) * 32, 2048)
    demand = Demand(PowerLaw(2.0, 0.76), Terms(length=131072))
    change = practised(stack, demand)
    assert change is not None
    assert (len(change.layers), change.window_tokens) == (26, 1024)
    assert 31 not in change.layers
    assert change.after.meets(demand)
    said = advice(stack, ["attention"] * 32, demand, advise(stack, demand))
    assert "26 of its 32 attention layers become windows" in said[1]
    assert "W W W W with windows of up to 64 +0." in said[2]
    assert said[3].startswith("The condition alone allows: ")


def test_no_practice_is_named_where_it_is_no_change_or_breaks_the_condition() -> None:
    full = law("attention", 64, Tokens())
    few = Stack((full,), 64)
    assert practised(few, Demand(PowerLaw(2.0, 0.7), Terms())) is None
    assert practised(Stack((full,) * 12, 64), Demand(PowerLaw(2.0, 0.7), Terms(length=2000))) is None
    hungry = Demand(PowerLaw(1.0, 1.0), Terms(nats_per_element=1 / 64 / 10))
    assert Stack((full,) * 12, 64).meets(hungry)
    assert practised(Stack((full,) * 12, 64), hungry) is None


def longest_window(architecture: dict[str, Any]) -> int:
    return max(layer.get("window") or 0 for layer in architecture["layers"])


def test_the_costs_that_are_named_are_those_of_the_shipped_study(repository: Path) -> None:
    known = costs()
    study = json.loads((repository / known.study / "study.json").read_text())
    rows = {(row["picture"], longest_window(row["architecture"])): row for row in study["finalists"]}
    assert study["reference"] == "all attention"
    for row in known.rows:
        trained = rows[row.picture, row.window]
        found = trained["lengths"][str(known.length)]["difference"]
        assert [row.nats, row.low, row.high] == pytest.approx([found[k] for k in ("value", "low", "high")], abs=6e-4)
        assert trained["parameters"] == pytest.approx(known.parameters, rel=0.03)
