"""A config with a bounded cache is judged by that cache, and not by the full one of the model it came from."""

import json
from pathlib import Path
from typing import Any

import pytest

from l2m_design.architecture.readers.published import published
from l2m_design.errors import BadInput
from l2m_design.library.check import check

LLAMA = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 96,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "auto_map": {"AutoModelForCausalLM": "adopted_l2m.AdoptedForCausalLM"},
}
CACHE = {"chunk": 8, "law": "power", "exponent": 0.8, "keep": 2.0, "window": 0, "sinks": 2, "allocate": "model"}


def written(folder: Path, cache: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(LLAMA | {"l2m_cache": cache}))
    return path


def test_the_law_is_the_caches(tmp_path: Path) -> None:
    from l2m_design.architecture.schedules import GlobalBudget

    found = published(written(tmp_path, CACHE))
    slots = GlobalBudget(8, "power", 0.8, 2.0, 0, 2).count(5000)
    assert found.state.elements(5000) == 3 * 2 * (slots * (2 * 16 + 4) + 1)
    assert found.state.bytes(5000, "float32") == 3 * 2 * 4 * (slots * (2 * 16 + 4) + 1)
    assert found.state.bytes(5000, "bfloat16") == 3 * 2 * (slots * (2 * 2 * 16 + 4 * 4) + 4)
    assert found.state.exponent == 0.8
    assert found.picture == "S S S"
    assert any("Full attention has the cache that `l2m_cache` describes" in note for note in found.notes)


def test_a_bounded_cache_holds_no_more_nats_than_the_full_one(tmp_path: Path) -> None:
    """Its elements are some of the full cache's: where it evicts, it counts for less."""
    layers = [{"cache": "sparse", "window": 40, "chunk": 8}, {"cache": "window", "window": 30}, {"cache": "full"}]
    full = tmp_path / "full"
    full.mkdir()
    (full / "config.json").write_text(json.dumps({key: LLAMA[key] for key in LLAMA if key != "auto_map"}))
    for cache in (CACHE, {"layers": layers}):
        bounded, whole = (check(path, 0.7, length=4096) for path in (written(tmp_path, cache), full))
        kinds = {term.kind for term in bounded.subject.state.terms}
        assert kinds == {"attention"}
        for length in (1024, 4096):
            held = [each.demand.held(each.subject.state, length) for each in (bounded, whole)]
            assert all(ours <= theirs for ours, theirs in zip(*held, strict=True)), length


def test_other_runtimes_read_the_full_cache(tmp_path: Path) -> None:
    found = published(written(tmp_path, CACHE), "vllm")
    assert found.state.exponent == 1
    assert any("uses the full cache" in note for note in found.notes)


def test_the_code_without_its_settings_is_strange(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    with pytest.raises(BadInput, match="auto_map"):
        published(path)


@pytest.mark.parametrize("cache", [{"chunk": 8}, {"chunk": 0, "law": "power"}, 7, {**CACHE, "slots": 3}])
def test_settings_that_are_no_cache(tmp_path: Path, cache: Any) -> None:
    with pytest.raises(BadInput, match="l2m_cache: must have chunk, law"):
        published(written(tmp_path, cache))


PLAN = [
    {"cache": "full"},
    [{"cache": "window", "window": 9}, {"cache": "none"}],
    {"cache": "sparse", "chunk": 8, "window": 12, "sinks": 2},
]


def test_the_law_of_a_plan_is_the_plans(tmp_path: Path) -> None:
    from l2m_design.architecture.plans import CachePlan

    found = published(written(tmp_path, {"layers": PLAN}))
    plan = CachePlan.of_plain(PLAN, 2)
    for length in (5, 100, 3000):
        assert found.state.elements(length) == plan.state(16).elements(length)
        assert found.state.bytes(length, "bfloat16") == plan.bytes(length, 16, "bfloat16")
    assert found.picture == "A S S"
    assert found.parameters == published(written(tmp_path, CACHE)).parameters


@pytest.mark.parametrize("layers", [PLAN[:2], [*PLAN, PLAN[0]], 7, [{"cache": "best"}] * 3, [[PLAN[0]]] * 3])
def test_settings_that_are_no_plan(tmp_path: Path, layers: Any) -> None:
    with pytest.raises(BadInput, match=r"l2m_cache\.layers: must give the cache of each layer"):
        published(written(tmp_path, {"layers": layers}))
