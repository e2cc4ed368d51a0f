"""Layouts: what they ask, what they draw, and how many drawings they hold, held against all answers."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2m_design.errors import BadInput
from l2m_design.search.space import counting
from l2m_design.search.space.known import REFERENCE, known_designs
from l2m_design.search.space.sharing import mixers
from l2m_design.search.space.space import Space

SPACES = Path(__file__).parents[2] / "search_spaces"
ATTENTION = {"kind": "attention", "heads": 2, "kv_heads": "$kv_heads", "head_dim": 8}
KINDS: dict[str, dict[str, Any]] = {
    "attention": ATTENTION,
    "shares": ATTENTION | {"share": "nearest"},
    "twice": ATTENTION | {"kv_heads": 1, "share": "nearest"},
    "window": ATTENTION | {"window": "$window"},
    "mamba2": {"kind": "mamba2", "d_state": 4, "head_dim": 8},
}
CHOICES: dict[str, list[Any]] = {"kv_heads": [1, 2], "window": [8, None], "unused": [1, 2]}


def made(kinds: dict[str, Any], depth: int, **fields: Any) -> Space:
    named = {value[1:] for kind in kinds.values() for value in kind.values() if str(value).startswith("$")}
    choices = {name: options for name, options in CHOICES.items() if name in named | {"unused"}}
    given = {"depth": depth, "parameters": 40000, "kinds": kinds, "choices": choices} | fields
    return Space.parse(given, "space.yaml")


def brute(space: Space) -> set[Any]:
    """The mixers of every answer to every question that may be drawn."""
    names, options = zip(*space.choice_names(), strict=True)
    answers = (dict(zip(names, picked, strict=True)) for picked in itertools.product(*options))
    return {mixers(space.arranged(picks)) for picks in answers if space.offers(picks)}


LAYOUTS: list[dict[str, Any]] = [
    {"depth": 3},
    {"depth": 3, "sizes": "shared"},
    {"depth": 5, "layout": "periodic", "periods": [2, 3]},
    {"depth": 4, "layout": "periodic", "periods": [3, 2]},
    {"depth": 4, "layout": "periodic", "periods": [3]},
    {"depth": 6, "layout": "periodic", "periods": [3, 2, 1], "sizes": "shared"},
    {"depth": 3, "layout": "periodic", "periods": [2, 3], "sizes": "shared"},
]


PAIRS = [("mamba2", "attention"), ("attention", "shares"), ("attention", "twice"), ("window", "shares")]
CASES = [(layout, pair) for layout in LAYOUTS for pair in PAIRS if "twice" not in pair or "sizes" not in layout]


@pytest.mark.parametrize(("layout", "pair"), CASES, ids=str)
def test_drawings_are_as_many_as_different_lists_of_layers(layout: dict[str, Any], pair: tuple[str, str]) -> None:
    space = made({name: KINDS[name] for name in pair}, **layout)
    if "sizes" in layout:
        space = space.model_copy(update={"choices": space.choices | {"window": [8, 16]}})
    found = brute(space)
    assert space.drawings == len(found)
    assert {mixers(layers) for layers in counting.each(space)} == found
    assert len(list(counting.each(space))) == len(found)


@pytest.mark.parametrize("sizes", ["per_layer", "shared"])
@pytest.mark.parametrize("pattern", [["attention"], ["window", "shares", "mamba2"], ["attention", "shares"]], ids=str)
def test_drawings_of_a_fixed_pattern_are_counted(pattern: list[str], sizes: str) -> None:
    space = made(
        {name: KINDS[name] for name in KINDS if name != "twice"}, 4, layout="fixed", pattern=pattern, sizes=sizes
    )
    space = space.model_copy(update={"choices": space.choices | {"window": [8, 16]}})
    assert space.drawings == len(brute(space)) == len(list(counting.each(space)))


@given(st.sets(st.integers(1, 6), min_size=1, max_size=3), st.integers(6, 7), st.booleans())
@settings(max_examples=25, deadline=None)
def test_lists_of_several_periods_are_counted_once(periods: set[int], depth: int, share: bool) -> None:
    kinds = {"attention": ATTENTION | {"kv_heads": 1}, "other": KINDS["mamba2"]}
    if share:
        kinds["other"] = ATTENTION | {"kv_heads": 1, "share": "nearest"}
    space = made(kinds, depth, layout="periodic", periods=sorted(periods))
    assert space.drawings == len(brute(space.model_copy(update={"choices": {}})))


def test_kinds_that_coincide_cannot_be_counted_with_shared_sizes() -> None:
    with pytest.raises(
        BadInput, match="attention and window can be the same layer; leave one of them out with sizes: shared"
    ):
        _ = made({name: KINDS[name] for name in ("attention", "window")}, 2, sizes="shared").drawings


def test_a_period_repeats_to_the_depth_that_it_need_not_divide() -> None:
    space = made({name: KINDS[name] for name in ("attention", "mamba2")}, 5, layout="periodic", periods=[2, 3])
    picks = {name: options[0] for name, options in space.choice_names()}
    picks |= {"layer1.kind": "mamba2", "layer2.kind": "mamba2"}
    pictures = [space.draw(lambda name, _, p=picks | {"period": n}: p[name], 64).picture for n in (2, 3)]
    assert pictures == ["A M A M A", "A M M A M"]


def test_an_unused_answer_never_makes_two_drawings_different() -> None:
    space = made({name: KINDS[name] for name in ("attention", "mamba2")}, 4, layout="periodic", periods=[1, 2])
    picks = {name: options[0] for name, options in space.choice_names()} | {"period": 1}
    other = picks | {"layer1.kind": "mamba2", "layer1.kv_heads": 2, "layer0.unused": 2}
    assert space.arranged(picks) == space.arranged(other)


def test_a_fixed_pattern_asks_only_for_sizes_and_shared_sizes_once() -> None:
    fields = {"layout": "fixed", "pattern": ["mamba2", "attention"]}
    assert [name for name, _ in made(KINDS, 4, **fields).choice_names()] == ["layer1.kv_heads", "layer3.kv_heads"]
    assert [name for name, _ in made(KINDS, 4, sizes="shared", **fields).choice_names()] == ["all.kv_heads"]
    free = [name for name, _ in made(KINDS, 2, sizes="shared").choice_names()]
    assert free == ["layer0.kind", "layer1.kind", "all.kv_heads", "all.window", "all.unused"]


@pytest.mark.parametrize("name", ["hybrid", "long_context", "gpu_50m"])
def test_the_questions_of_every_layout_are_the_same_for_every_drawing(name: str) -> None:
    space = Space.load(SPACES / f"{name}.yaml").resolved(0.7)
    for seed in range(3):
        asked, rng = [], random.Random(seed)
        space.asked(lambda name, options, a=asked, r=rng: a.append((name, options)) or r.choice(options))
        assert asked == list(space.choice_names())


def test_kinds_of_known_designs_are_asked_for_and_not_offered() -> None:
    space = made({name: KINDS[name] for name in ("attention", "mamba2")}, 4, designs_only=["attention"])
    assert dict(space.choice_names())["layer0.kind"] == ["attention", "mamba2"]
    assert (space.drawings, len(space.mixers)) == (1, 1)
    picks = known_designs(space, 0.7)[REFERENCE].picks
    assert not space.offers(picks)
    assert not space.offers(picks | {f"layer{index}.kind": "mamba2" for index in range(3)})
    assert space.offers(picks | {f"layer{index}.kind": "mamba2" for index in range(4)})
    periodic = made(space.kinds, 4, designs_only=["attention"], layout="periodic", periods=[1, 2])
    picks = {name: options[0] for name, options in periodic.choice_names()} | {"layer0.kind": "mamba2"}
    assert periodic.offers(picks | {"period": 1})  # what no layer uses does not count
    assert not periodic.offers(picks | {"period": 2})


def test_a_design_that_the_layout_cannot_draw_is_left_out_but_for_the_reference() -> None:
    kinds = {name: KINDS[name] for name in ("attention", "mamba2")}
    fixed = made(kinds, 4, layout="fixed", pattern=["mamba2"])
    designs = known_designs(fixed, 0.7)
    assert set(designs) == {REFERENCE, "all Mamba-2"}
    assert designs[REFERENCE].picks == {}
    assert fixed.fitted(designs[REFERENCE].layers, 64).picture == "A A A A"
    assert fixed.arranged(designs["all Mamba-2"].picks) == designs["all Mamba-2"].layers


def test_a_periodic_space_draws_the_designs_that_repeat() -> None:
    space = Space.load(SPACES / "long_context.yaml").resolved(0.7)
    designs = known_designs(space, 0.7)
    assert set(designs) == {
        "all attention", "all Mamba-2", "all windows", "1 attention in 4", "window + attention 3:1",
        "Samba-like (Mamba-2 + window)", "Gemma-like (window + attention 5:1)", "all sparse at the demand"
    }  # fmt: skip
    for design in designs.values():
        assert space.arranged(design.picks) == design.layers
        assert all(design.picks[name] in options for name, options in space.choice_names())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"layout": "fixed", "pattern": ["mamba"]}, "pattern: unknown key 'mamba'; did you mean 'mamba2'"),
        ({"layout": "fixed", "pattern": []}, "pattern: list should have at least 1 item"),
        ({"layout": "fixed", "pattern": ["mamba2"] * 5}, r"pattern: has 5 layers, must have at most depth \(4\)"),
        ({"layout": "fixed"}, "pattern: required by layout: fixed"),
        ({"pattern": ["mamba2"]}, "pattern: allowed only with layout: fixed"),
        ({"layout": "periodic", "periods": [2, 5]}, r"periods: 5 must be at most depth \(4\)"),
        ({"layout": "periodic", "periods": []}, "periods: list should have at least 1 item"),
        ({"layout": "periodic", "periods": [0]}, r"periods\.0"),
        ({"layout": "periodic"}, "periods: required by layout: periodic"),
        ({"designs_only": ["atention"]}, "designs_only: unknown key 'atention'; did you mean 'attention'"),
        ({"designs_only": list(KINDS)}, "designs_only: contains all kinds"),
        ({"designs_only": ["mamba2"], "layout": "fixed", "pattern": ["mamba2"]}, "designs_only"),
        (
            {"layout": "fixed", "pattern": ["mamba2", "attention"], "designs_only": ["mamba2"]},
            "pattern: contains a kind",
        ),
        (
            {"choices": CHOICES | {"unused": ["demand*2"]}},
            r"choices\.unused: 'demand\*2': must be a number, or demand, demand-0\.2",
        ),
        ({"equal": "flops"}, "parameters: allowed only with equal: parameters"),
        ({"equal": "flops", "parameters": None}, "flops_per_token: required by equal: flops"),
        ({"parameters": None}, "parameters: required by equal: parameters"),
        ({"flops_per_token": 1e6}, "flops_per_token: allowed only with equal: flops"),
    ],
)
def test_a_broken_layout_names_file_and_field(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=f"^space.yaml: .*{said}"):
        made(KINDS, 4, **({"choices": CHOICES} | fields))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_answers_that_no_layer_has_are_left_out_and_change_nothing(layout: dict[str, Any]) -> None:
    space = made({kind: KINDS[kind] for kind in ("window", "mamba2")}, **layout)
    rng = random.Random(1)
    for _ in range(50):
        picks = {name: rng.choice(options) for name, options in space.choice_names()} | {"rate": 2.0}
        used = space.used(picks)
        assert used["rate"] == 2.0
        asked = {name.split(".")[-1] for name in used} - {"rate", "period", "kind"}
        assert asked == ({"window", "kv_heads"} if "window" in space.kinds_of(picks) else set())
        others = {name: rng.choice(options) for name, options in space.choice_names()}
        assert space.arranged(others | used) == space.arranged(picks)
