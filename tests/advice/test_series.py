"""The series of a fixed state: the member for a length meets the level there, one unit smaller does not."""

import json
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from l2m_design.advice import Dimension, Stack, depth, factor, is_fixed, member, window
from l2m_design.advice.by_length import by_length
from l2m_design.architecture import Architecture
from l2m_design.architecture.readers import published
from l2m_design.architecture.sizes import resized, sizes
from l2m_design.condition import Demand
from l2m_design.laws import Fixed, PowerLaw, StateLaw, StateTerm, Tokens
from l2m_design.terms import Terms

FIXED = st.sampled_from(
    [
        {"kind": "mamba2", "d_state": 16, "head_dim": 8},
        {"kind": "mamba1", "d_state": 4},
        {"kind": "gated_deltanet", "heads": 2, "head_dim": 8},
        {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "window": 64},
        {"kind": "attention", "heads": 2, "kv_heads": 2, "head_dim": 8, "window": 32, "short_conv": 4},
    ]
)
DRAWINGS = st.builds(
    lambda layers: Architecture.parse({"vocabulary": 9, "width": 16, "layers": layers}, "drawn"),
    st.lists(FIXED, min_size=1, max_size=5),
)
DEMANDS = st.builds(
    lambda prefactor, beta: Demand(PowerLaw(prefactor, beta), Terms(nats_per_element=0.06)),
    st.floats(0.1, 100.0),
    st.floats(0.1, 1.0),
)
LENGTHS = st.sampled_from([4, 1000, 4096, 65536])
LAWFUL = settings(max_examples=60, deadline=None)


def stack_of(drawing: Architecture) -> Stack:
    return Stack.of(drawing.laws, drawing.width, drawing.outside)


@given(DRAWINGS, DEMANDS, LENGTHS)
@LAWFUL
def test_a_member_meets_the_level_at_its_length_and_one_unit_smaller_does_not(
    drawing: Architecture, demand: Demand, length: int
) -> None:
    for name, now in sizes(drawing).items():
        found = member(Dimension(name, now, lambda size, name=name: resized(drawing, name, size)), demand, length)
        if found is None:
            assert name == "window"
            continue
        assert demand.covers(resized(drawing, name, found), length)
        if found <= 1024:
            assert redrawn(drawing, name, found).state.merged() == resized(drawing, name, found)
        if found > 1:
            smaller = resized(drawing, name, found - 1)
            assert not demand.covers(smaller, length)


def redrawn(drawing: Architecture, name: str, size: int) -> Architecture:
    """As somebody draws it who has read the table."""
    data = drawing.plain()
    for layer in data["layers"]:
        if layer.get(name) and (name != "head_dim" or layer["kind"] == "gated_deltanet"):
            layer[name] = size
    return Architecture.parse(data, "redrawn")


@given(DRAWINGS, DEMANDS, LENGTHS)
@LAWFUL
def test_the_factor_is_exact_and_the_layers_are_the_fewest(drawing: Architecture, demand: Demand, length: int) -> None:
    stack = stack_of(drawing)
    assert is_fixed(stack)
    worst = min(demand.slack(stack.state, each) for each in demand.grid(length))
    assert factor(stack, demand, length) == pytest.approx(2.718281828459045**-worst)
    deep = depth(stack)
    assert deep.law(len(drawing.layers)) == drawing.state.merged()
    found = member(deep, demand, length)
    assert found is not None
    assert demand.covers(deep.law(found), length)
    assert found == 1 or not demand.covers(deep.law(found - 1), length)


@given(DRAWINGS)
@LAWFUL
def test_a_drawing_resized_to_what_it_is_stays_what_it_is(drawing: Architecture) -> None:
    for name, now in sizes(drawing).items():
        assume(len({getattr(layer, name, None) for layer in drawing.layers if hasattr(layer, name)}) == 1)
        assert resized(drawing, name, now) == drawing.state.merged()


CONFIGS = {
    "mamba": ({"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 4}, ("state_size",)),
    "mamba2": (
        {"model_type": "mamba2", "hidden_size": 64, "num_hidden_layers": 4, "num_heads": 2, "n_groups": 1},
        ("state_size",),
    ),
    "mamba_ssm": ({"d_model": 64, "n_layer": 4, "ssm_cfg": {"layer": "Mamba2"}}, ("ssm_cfg", "d_state")),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_member_of_a_published_family_is_its_config_with_another_state(name: str, tmp_path: Path) -> None:
    config, place = CONFIGS[name]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    model, demand = published(path), Demand(PowerLaw(20.0, 0.7), Terms(nats_per_element=0.06))
    assert model.config.d_state is not None
    assert model.of_d_state(model.config.d_state) == model.state
    found = member(Dimension("d_state", model.config.d_state, model.of_d_state), demand, 1 << 20)
    assert found is not None
    assert found > 1
    for size, enough in ((found, True), (found - 1, False)):
        again = published(path, overrides=[f"{'.'.join(place)}={size}"])
        assert demand.covers(again.state, 1 << 20) is enough


def test_a_window_is_no_remedy_for_a_state_too_small_at_short_lengths() -> None:
    stack = Stack((StateLaw((StateTerm(2, Tokens(64), kind="window"),)),), 2)
    demand = Demand(PowerLaw(100.0, 0.5), Terms(nats_per_element=0.06))
    (windows,) = window(stack)
    assert (windows.name, windows.now) == ("window", 64)
    assert member(windows, demand, 4096) is None
    assert member(depth(stack), demand, 4096) is not None


def test_what_grows_has_no_series() -> None:
    growing = Stack((StateLaw((StateTerm(2, Tokens(), kind="attention"),)), StateLaw((StateTerm(5, Fixed()),))), 2)
    assert not is_fixed(growing)
    assert not is_fixed(Stack((StateLaw(),), 2))
    rows = by_length(growing, 8, (), Demand(PowerLaw(1.0, 0.7), Terms(nats_per_element=0.06)), [1000, 2000])
    assert [row["member"] for row in rows] == [None, None]
    assert [row["held_elements"] for row in rows] == [1005, 2005]


@given(DRAWINGS, DEMANDS, LENGTHS)
@LAWFUL
def test_a_row_says_what_the_verdict_at_that_length_says(drawing: Architecture, demand: Demand, length: int) -> None:
    (row,) = by_length(stack_of(drawing), drawing.width, (), demand, [length])
    short = demand.terms.model_copy(update={"length": length, "shortest": min(256, length)})
    verdict = Demand(demand.law, short).judge(drawing.state)
    assert row["meets_level"] == verdict.meets_level
    assert row["meets"] == verdict.met
    assert row["state_elements"] == drawing.state.elements(length)
    assert (row["member"]["factor"] <= 1) == verdict.meets_level
