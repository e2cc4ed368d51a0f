"""Scaling keeps what a drawing is: heads of one size, its pattern, its growth; and meets the asked parameters."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2m_design.architecture import Architecture
from l2m_design.architecture.scaling import period, scaled
from l2m_design.errors import BadInput

ATTENTION = {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 16}
MAMBA = {"kind": "mamba2", "d_state": 16, "head_dim": 16}
SPARSE = {"kind": "sparse_attention", "heads": 4, "kv_heads": 2, "head_dim": 16, "chunk": 16, "exponent": 0.7}
MLA = {"kind": "mla", "heads": 4, "head_dim": 16, "kv_rank": 32, "rope_dim": 8}


def drawing(layers: list[dict[str, Any]], **changes: Any) -> Architecture:
    return Architecture.parse({"vocabulary": 256, "width": 64, "layers": layers} | changes, "drawing")


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    layers=st.lists(st.sampled_from([ATTENTION, MAMBA, SPARSE, MLA]), min_size=1, max_size=4),
    copies=st.integers(1, 3),
    millions=st.floats(0.6, 5000.0),
)
def test_any_drawing_reaches_any_number_of_parameters(
    layers: list[dict[str, Any]], copies: int, millions: float
) -> None:
    small, asked = drawing(layers * copies), int(millions * 1e6)
    made = scaled(small, asked)
    assert abs(made.parameters / asked - 1) < 0.15
    assert made.state.exponent == small.state.exponent
    pattern, ratio = period(small), made.width / small.width
    assert len(made.layers) % pattern == 0
    for index, layer in enumerate(made.layers):
        plain, before = layer.plain(), small.layers[index % pattern].plain()
        grown = {name: plain[name] for name in ("heads", "kv_heads", "kv_rank") if plain.get(name) is not None}
        assert grown == {name: before[name] * ratio for name in grown}
        assert {**plain, **grown} == {**before, **grown}


def test_close_to_what_was_asked_the_mlps_take_up_the_remainder() -> None:
    for asked in (2_000_000, 50_000_000, 1_000_000_000):
        assert abs(scaled(drawing([MAMBA, MAMBA, ATTENTION]), asked).parameters / asked - 1) < 0.01


def test_width_and_depth_grow_alike() -> None:
    made = scaled(drawing([MAMBA, ATTENTION] * 2), 100_000_000)
    assert 0.4 < (made.width / 64) / (len(made.layers) / 4) < 2.5


def test_copies_of_a_shared_cache_share_within_their_copy() -> None:
    made = scaled(drawing([ATTENTION, ATTENTION | {"share": 0}]), 20_000_000)
    assert len(made.layers) > 2
    assert [layer.plain()["share"] for layer in made.layers[:4]] == [None, 0, None, 2]


def test_what_cannot_be_reached_says_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"the nearest size of this architecture has [\d,]+ parameters"):
        scaled(drawing([ATTENTION | {"heads": 1, "kv_heads": 1}]), 5000)
