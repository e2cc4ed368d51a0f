"""Spaces draw architectures of equal parameters, and say what does not fit."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2m_design.errors import BadInput
from l2m_design.search.space.known import PATTERNS, known_designs
from l2m_design.search.space.space import Space

HYBRID = Path(__file__).parents[2] / "search_spaces" / "hybrid.yaml"


@given(st.randoms(use_true_random=False), st.sampled_from([2, 256, 2000]))
@settings(max_examples=50, deadline=None)
def test_every_drawing_meets_the_budget_within_three_percent(rng: random.Random, vocabulary: int) -> None:
    space = Space.load(HYBRID).resolved(0.7)
    drawing = space.draw(lambda name, options: rng.choice(options), vocabulary)
    assert abs(drawing.parameters / space.parameters - 1) <= 0.03
    assert len(drawing.layers) == space.depth


def test_the_demanded_exponent_is_rounded_up_and_never_past_one() -> None:
    space = Space.load(HYBRID)
    assert 0.69 in space.resolved(0.6801).choices["exponent"]
    assert 0.68 in space.resolved(0.68).choices["exponent"]
    assert max(space.resolved(1.0).choices["exponent"]) == 1.0
    assert min(space.resolved(0.0).choices["exponent"]) == 0.05  # no growth is required: sparse layers stay on offer


def test_an_exponent_that_is_there_already_is_not_offered_twice() -> None:
    assert Space.load(HYBRID).resolved(0.5).choices["exponent"] == [0.5, 0.9]


def test_a_template_shares_the_nearest_cache_like_its_own() -> None:
    attention = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8}
    kinds = {
        "keeps": attention,
        "window": attention | {"window": 8},
        "shares": attention | {"share": "nearest"},
        "mamba2": {"kind": "mamba2", "d_state": 4, "head_dim": 8},
    }
    space = Space.parse({"depth": 6, "parameters": 40000, "kinds": kinds}, "space")
    names = iter(["shares", "mamba2", "shares", "keeps", "window", "shares"])
    drawing = space.draw(lambda name, options: next(names), 64)
    assert [getattr(layer, "share", None) for layer in drawing.layers] == [None, None, 0, None, None, 3]
    assert drawing.picture == "A M a A W a"
    with pytest.raises(BadInput, match=r"kinds\.mamba2: share: mamba2 has no cache"):
        Space.parse(space.plain() | {"kinds": kinds | {"mamba2": kinds["mamba2"] | {"share": "nearest"}}}, "space")
    for misfit in (2, "next"):
        with pytest.raises(BadInput, match=r"kinds\.shares: share: must be 'nearest'"):
            Space.parse(space.plain() | {"kinds": kinds | {"shares": attention | {"share": misfit}}}, "space")


def test_a_choice_may_be_none() -> None:
    kinds = {"a": {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "window": "$window"}}
    space = Space.parse({"depth": 2, "parameters": 9000, "kinds": kinds, "choices": {"window": [8, None]}}, "space")
    answers = iter(["a", 8, "a", None])
    assert space.draw(lambda name, options: next(answers), 64).picture == "W A"


def test_the_questions_are_the_same_for_every_candidate() -> None:
    space = Space.load(HYBRID).resolved(0.7)
    asked = []
    space.draw(lambda name, options: asked.append((name, options)) or options[-1], 256)
    assert asked == list(space.choice_names())


def test_known_designs_are_drawn_from_the_space_and_look_as_named() -> None:
    space = Space.load(HYBRID).resolved(0.68)
    pictures = {
        name: space.draw(lambda question, options, p=design.picks: p[question], 256).picture
        for name, design in known_designs(space, 0.68).items()
    }
    assert pictures == {
        "all attention": "A A A A",
        "all Mamba-2": "M M M M",
        "all windows": "W W W W",
        "Jamba-like (1 attention in 8)": "M M A M",
        "window + attention 3:1": "W W W A",
        "Samba-like (Mamba-2 + window)": "M W M W",
        "all sparse at the demand": "S S S S",
    }
    for design in known_designs(space, 0.68).values():
        for name, options in space.choice_names():
            assert design.picks[name] in options
        assert space.arranged(design.picks) == design.layers


def test_the_baseline_of_windows_has_the_smallest_and_all_others_the_largest() -> None:
    designs = known_designs(Space.load(HYBRID).resolved(0.68), 0.68)
    assert [layer["window"] for layer in designs["all windows"].layers] == [64] * 4
    assert [layer.get("window") for layer in designs["window + attention 3:1"].layers] == [256, 256, 256, None]


def test_patterns_that_are_one_at_a_depth_are_trained_once_and_are_apart_where_they_differ() -> None:
    deep = Space.load(HYBRID, ["depth=12", "parameters=1500000"]).resolved(0.68)
    named = known_designs(deep, 0.68)
    kinds = [tuple(layer["kind"] for layer in design.layers) for design in named.values()]
    assert "Gemma-like (window + attention 5:1)" in named
    assert "Gemma-like (window + attention 5:1)" not in known_designs(Space.load(HYBRID).resolved(0.68), 0.68)
    assert len(named) == len(PATTERNS) == len(set(zip(named, kinds, strict=True)))


def test_one_attention_in_eight_is_so_at_depth() -> None:
    kinds = [PATTERNS["Jamba-like (1 attention in 8)"](layer, 24) for layer in range(24)]
    assert [index for index, kind in enumerate(kinds) if kind == "attention"] == [7, 15, 23]


def test_a_space_without_a_kind_has_fewer_known_designs() -> None:
    space = Space.load(HYBRID)
    kinds = {"attention": space.kinds["attention"], "mamba2": space.kinds["mamba2"]}
    names = known_designs(space.model_copy(update={"kinds": kinds}).resolved(0.7), 0.7)
    assert set(names) == {"all attention", "all Mamba-2", "Jamba-like (1 attention in 8)"}


def test_drawings_are_counted() -> None:
    space = Space.load(HYBRID).resolved(0.68)
    assert len(space.mixers) == 3 + 9 + 3 + 9
    assert space.drawings == 24**4


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (3000, "is too small for the embeddings and MLPs"),
        (9000, r"is too small for layer 0 \(attention\)"),
        (20000, r"is too small for layer 2 \(attention\)"),
    ],
)
def test_an_impossible_budget_names_the_layer(parameters: int, words: str) -> None:
    space = Space.load(HYBRID, [f"parameters={parameters}"]).resolved(0.7)
    with pytest.raises(BadInput, match=words):
        space.draw(lambda name, options: options[0], 256)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("kinds.sparse.exponent=$exponents", "unknown key 'exponents'; did you mean 'exponent'"),
        ("kinds={}", "at least one mixer"),
        ("choices.window=[]", r"choices\.window"),
        ("deph=3", "did you mean 'depth'"),
    ],
)
def test_a_broken_space_is_bad_input(override: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Space.load(HYBRID, [override])


def test_a_template_that_is_no_mixer_is_bad_input() -> None:
    space = Space.load(HYBRID, ["kinds.mamba2.d_stat=3"]).resolved(0.7)
    with pytest.raises(BadInput, match="unknown key 'd_stat'; did you mean 'd_state'"):
        space.fitted([space.mixer("mamba2", {"d_state": 16})], 256)
