"""Native targets: what is loaded back says the same, cached or not, for any drawing that a target takes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.export.huggingface import write_model
from l2m_design.export.loaded import examine
from l2m_design.export.proof import STEPS, Proof, by_steps, judge, tokens_for
from l2m_design.export.targets import TARGETS, pick
from l2m_design.model import LanguageModel, build

ATTENTION = {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 8}
MAMBA = {"kind": "mamba2", "d_state": 8, "head_dim": 8}
DELTA = {"kind": "gated_deltanet", "heads": 2, "head_dim": 8}
MLA = {"kind": "mla", "heads": 2, "head_dim": 8, "kv_rank": 16, "rope_dim": 4}
FEW = settings(
    max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def drawing(layers: list[dict[str, Any]], **changes: Any) -> Architecture:
    return Architecture.parse({"vocabulary": 50, "width": 24, "layers": layers} | changes, "drawing")


def moved(architecture: Architecture) -> LanguageModel:
    """A model none of whose norms is at its start, so that a forgotten one shows."""
    torch.manual_seed(3)
    model = build(architecture).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def proven(architecture: Architecture, folder: Path, name: str | None = None) -> Proof:
    target, _ = pick(architecture, name)
    model, tokens = moved(architecture), tokens_for(architecture)
    write_model(target, model, folder)
    return judge(model, target, tokens, *examine(str(folder), tokens, STEPS, own_code=False))


def attention(draw: st.DrawFn, **fixed: Any) -> dict[str, Any]:
    kv_heads = draw(st.integers(1, 2))
    heads = kv_heads * draw(st.integers(1, 2))
    head_dim = 2 * draw(st.integers(1, 6))
    theta = draw(st.sampled_from([500.0, 10000.0]))
    sizes = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "rope_theta": theta}
    return {"kind": "attention"} | sizes | fixed


@st.composite
def drawings(draw: st.DrawFn, name: str) -> Architecture:
    """Any drawing that a target of this name takes."""
    count, window = draw(st.integers(1, 3)), draw(st.integers(2, 40))
    if name in ("llama", "mistral"):
        layers = [attention(draw, **({"window": window} if name == "mistral" else {}))] * count
    elif name in ("smollm3", "qwen3"):
        one = attention(draw, qk_norm=name == "qwen3")
        choices = [one, one | {"window": window}]
        choices += [layer | {"rope_theta": None} for layer in choices] if name == "smollm3" else []
        layers = draw(st.lists(st.sampled_from(choices), min_size=1, max_size=3))
    elif name == "deepseek":
        sizes = {"heads": draw(st.integers(1, 3)), "head_dim": 2 * draw(st.integers(1, 5))}
        ranks = {"kv_rank": draw(st.integers(1, 20)), "rope_dim": 2 * draw(st.integers(1, 4))}
        layers = [{"kind": "mla", "q_rank": draw(st.sampled_from([None, 10]))} | sizes | ranks] * count
    elif name == "granite":
        ssm = {"d_state": draw(st.integers(1, 9)), "head_dim": draw(st.sampled_from([4, 8])),
               "expand": draw(st.integers(1, 2)), "d_conv": draw(st.integers(2, 5))}  # fmt: skip
        some = draw(st.lists(st.booleans(), min_size=0, max_size=2))
        one = attention(draw) | draw(st.sampled_from([{}, {"rope_theta": None}]))
        layers = [{"kind": "mamba2"} | ssm, one, *(one if keeps else {"kind": "mamba2"} | ssm for keeps in some)]
    else:
        delta = {"kind": "gated_deltanet", "heads": draw(st.integers(1, 3)), "head_dim": draw(st.integers(4, 9)),
                 "value_expand": draw(st.integers(1, 2)), "d_conv": draw(st.integers(2, 5))}  # fmt: skip
        layers = [delta, attention(draw, qk_norm=True)] * draw(st.integers(1, 2))
    return drawing(layers, tied_embeddings=draw(st.booleans()))


@pytest.mark.parametrize("name", [target.name for target in TARGETS if target.name != "remote"])
@FEW
@given(data=st.data())
def test_any_drawing_that_a_target_takes_comes_back_the_same(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    proof = proven(data.draw(drawings(name)), tmp_path_factory.mktemp("export"), name)
    assert proof.max_logit_difference <= 1e-4
    assert proof.cache_bytes == proof.cache_bytes_law


@pytest.mark.parametrize(
    ("layers", "format_", "label"),
    [
        ([ATTENTION] * 2, "LlamaForCausalLM", "native"),
        ([ATTENTION | {"window": 10}] * 2, "MistralForCausalLM", "native (not llama.cpp)"),
        ([ATTENTION, ATTENTION | {"window": 10}], "SmolLM3ForCausalLM", "native (not llama.cpp)"),
        ([ATTENTION, ATTENTION | {"rope_theta": None}], "SmolLM3ForCausalLM", "native (not llama.cpp)"),
        ([ATTENTION | {"qk_norm": True}] * 2, "Qwen3ForCausalLM", "native"),
        ([ATTENTION | {"qk_norm": True, "window": 9}] * 2, "Qwen3ForCausalLM", "native (not llama.cpp)"),
        ([MAMBA, ATTENTION], "GraniteMoeHybridForCausalLM", "native (not llama.cpp)"),
        ([MAMBA, ATTENTION | {"rope_theta": None, "head_dim": 6}], "GraniteMoeHybridForCausalLM", "native"),
        ([DELTA, ATTENTION | {"qk_norm": True}], "Qwen3_5ForCausalLM", "native (not llama.cpp)"),
        ([MLA] * 2, "DeepseekV3ForCausalLM", "native (not llama.cpp)"),
    ],
)
def test_the_first_target_that_carries_a_drawing_takes_it(layers: list[Any], format_: str, label: str) -> None:
    architecture = drawing(layers)
    target, passed_over = pick(architecture)
    assert (target.format, target.label(architecture)) == (format_, label)
    assert list(passed_over) == [t.name for t in TARGETS[: TARGETS.index(target)]]


@pytest.mark.parametrize(
    ("name", "layers", "words"),
    [
        ("llama", [ATTENTION, ATTENTION | {"heads": 2}], r"layers\.1 \(attention\): heads \(2\) differs"),
        ("llama", [ATTENTION, MAMBA], r"layers\.1 \(mamba2\): LlamaForCausalLM has attention only"),
        ("llama", [ATTENTION | {"heads": 10, "kv_heads": 5}], r"layers\.0 .* multiple of heads \(10\)"),
        ("llama", [ATTENTION | {"rope_theta": None}], "without positions"),
        ("mistral", [ATTENTION | {"window": 8}, ATTENTION], r"layers\.1 .*full attention beside a window"),
        ("mistral", [ATTENTION | {"window": 8}, ATTENTION | {"window": 9}], r"layers\.1 .*window \(9\) differs"),
        ("mistral", [ATTENTION | {"window": 8, "sinks": 2}], "sinks are not part"),
        ("mistral", [ATTENTION | {"window": 1}], "window of 1"),
        ("smollm3", [ATTENTION, ATTENTION | {"share": 0}], r"layers\.1 .*a shared cache"),
        ("smollm3", [ATTENTION | {"qk_norm": True}], "qk_norm is not part"),
        ("qwen3", [ATTENTION | {"qk_norm": True}, ATTENTION], r"layers\.1 .*qk_norm is needed"),
        ("qwen3", [ATTENTION | {"qk_norm": True, "short_conv": 3}], "short_conv"),
        ("granite", [MAMBA] * 2, "at least one layer of Attention"),
        ("granite", [ATTENTION] * 2, "at least one layer of Mamba2"),
        ("granite", [ATTENTION, MAMBA | {"groups": 2}], r"layers\.1 .*groups \(2\)"),
        ("granite", [ATTENTION, MAMBA, MAMBA | {"d_state": 4}], r"layers\.2 .*d_state \(4\) differs"),
        ("granite", [ATTENTION, MAMBA, ATTENTION | {"kv_heads": 1}], r"layers\.2 .*kv_heads \(1\) differs"),
        ("granite", [ATTENTION, MAMBA, ATTENTION | {"rope_theta": None}], r"layers\.2 .*in all attention layers"),
        ("granite", [MAMBA, ATTENTION | {"window": 4}], r"layers\.1 .*a window"),
        ("granite", [ATTENTION, MAMBA | {"state_dtype": "bfloat16"}], r"layers\.1 .*state_dtype"),
        ("qwen3_5", [DELTA, ATTENTION], r"layers\.1 .*qk_norm is needed"),
        ("qwen3_5", [DELTA, DELTA | {"heads": 1}, ATTENTION | {"qk_norm": True}], r"layers\.1 .*heads \(1\) differs"),
        ("deepseek", [MLA, MLA | {"qk_norm": True}], r"layers\.1 .*qk_norm is not part"),
        ("deepseek", [MLA, MLA | {"q_rank": 4}], "q_rank in some layers only"),
        ("deepseek", [MLA, ATTENTION], r"layers\.1 .*latent attention only"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_carry_a_drawing_says_the_layer_and_why(name: str, layers: list[Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        pick(drawing(layers), name)


def test_what_older_readers_want_stands_in_the_config() -> None:
    target, _ = pick(drawing([MAMBA, ATTENTION]))
    config = json.loads(json.dumps(target.config(drawing([MAMBA, ATTENTION]))))
    assert config["layer_types"] == ["mamba", "attention"]
    assert config["rope_theta"] == 10000.0
    assert "time_step_limit" not in config


def test_a_folder_that_says_something_else_fails_its_proof(tmp_path: Path) -> None:
    architecture = drawing([ATTENTION])
    target, _ = pick(architecture)
    write_model(target, build(architecture), tmp_path)
    tokens = tokens_for(architecture)
    found, logits = examine(str(tmp_path), tokens, STEPS, own_code=False)
    with pytest.raises(WorkFailed, match="logits differ"):
        judge(moved(architecture), target, tokens, found, logits)
    for wrong, words in (({"cache_bytes": 1}, "has 1 bytes"), ({"seen": 3}, "has read 3"),
                         ({"missing": ["a"]}, "missing: a"),
                         ({"generation_equal": False}, "different tokens")):  # fmt: skip
        own = build(architecture)
        with torch.inference_mode():
            said = torch.cat([own(tokens), by_steps(own, tokens)], dim=1)
        with pytest.raises(WorkFailed, match=words):
            judge(own, target, tokens, found | wrong, said)


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_keys_of_a_delta_rule_are_normalised_alike(seed: int, tmp_path: Path) -> None:
    """Where a key is hardly longer than nothing, what stands under the root decides."""
    architecture = drawing([DELTA | {"heads": 1, "head_dim": 4}] * 2 + [ATTENTION | {"qk_norm": True}])
    target, tokens = pick(architecture)[0], tokens_for(architecture)
    torch.manual_seed(seed)
    model = build(architecture).eval()
    with torch.no_grad():
        for block in model.blocks[:2]:
            block.mixer.conv.weight.mul_(0.05)
    write_model(target, model, tmp_path)
    found = examine(str(tmp_path), tokens, STEPS, own_code=False)
    assert judge(model, target, tokens, *found).max_logit_difference <= 5e-5
