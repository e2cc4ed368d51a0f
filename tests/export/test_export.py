"""Exports are loaded back and compared; what a target cannot carry is refused with the layer."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand, Terms
from l2m_design.errors import BadInput
from l2m_design.export.card import card, known, write_card
from l2m_design.export.huggingface import export_huggingface
from l2m_design.laws import PowerLaw
from l2m_design.model import build
from l2m_design.model.weights import save_weights


def drawing(**changes: Any) -> Architecture:
    layer = {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 8} | changes.pop("layer", {})
    plain = {"vocabulary": 50, "width": 24, "layers": [layer] * 2} | changes
    return Architecture.parse(plain, "drawing")


@pytest.mark.parametrize("changes", [{}, {"tied_embeddings": False}, {"layer": {"rope_theta": 500.0}}])
def test_full_attention_becomes_a_llama_with_the_same_logits(changes: dict[str, Any], tmp_path: Path) -> None:
    result = export_huggingface(drawing(**changes), tmp_path, None, 0)
    assert result["format"] == "LlamaForCausalLM"
    assert result["loads"]
    assert result["max_logit_difference"] < 1e-4
    assert {Path(file).name for file in result["files"]} >= {"config.json", "model.safetensors"}


def test_one_window_becomes_a_mistral_with_the_same_logits(tmp_path: Path) -> None:
    result = export_huggingface(drawing(layer={"window": 10}), tmp_path, None, 0)
    assert result["format"] == "MistralForCausalLM"
    assert result["max_logit_difference"] < 1e-4


def test_trained_weights_are_the_ones_exported(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(5)
    model = build(drawing()).eval()
    save_weights(model, tmp_path / "w.safetensors")
    export_huggingface(drawing(), tmp_path / "out", tmp_path / "w.safetensors", 0)
    tokens = torch.arange(20)[None]
    with torch.inference_mode():
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(tokens).logits
        torch.testing.assert_close(theirs, model(tokens), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([{"kind": "mamba2", "d_state": 4, "head_dim": 8}], r"layers\.0 \(mamba2\)"),
        ([{"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8},
          {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "window": 4}], r"layers\.1 .*differs"),
        ([{"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "qk_norm": True}], "qk_norm"),
        ([{"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "window": 9, "sinks": 2}], "sinks"),
        ([{"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "rope_theta": None}], "without positions"),
        ([{"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8},
          {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8, "share": 0}], r"layers\.1 .*a shared cache"),
    ],
)  # fmt: skip
def test_a_drawing_the_target_cannot_carry_is_refused(layers: list[Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=words):
        export_huggingface(drawing(layers=layers), tmp_path / "out", None, 0)
    assert not (tmp_path / "out").exists()


def test_the_card_holds_drawing_laws_verdict_and_provenance(tmp_path: Path) -> None:
    demand = Demand(PowerLaw(2.0, 0.7), Terms())
    files = write_card(card(drawing(), demand, {"study": "s"}), tmp_path)
    content = json.loads((tmp_path / "card.json").read_text())
    assert [Path(file).name for file in files] == ["architecture.yaml", "card.json"]
    assert content["laws"]["state_elements"]["1024"] == drawing().state.elements(1024)
    assert content["verdict"]["meets_growth"]
    assert content["provenance"]["study"] == "s"
    assert Architecture.load(tmp_path / "architecture.yaml") == Architecture.load(tmp_path / "card.json") == drawing()


def test_a_card_exported_again_keeps_its_verdict_and_provenance(tmp_path: Path) -> None:
    first = card(drawing(), Demand(PowerLaw(2.0, 0.7), Terms()), {"study": "s"})
    write_card(first, tmp_path)
    for source in (tmp_path, tmp_path / "card.json"):
        assert known(source) == {"verdict": first["verdict"], "provenance": first["provenance"]}
    assert known(tmp_path / "architecture.yaml") == {}


def test_a_file_that_does_not_load_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2m_design.export.card.to_yaml", lambda data: "vocabulary: 50\nwidth: 16\nlayers:\n- "
                        "{kind: attention, heads: 1, kv_heads: 1, head_dim: 8}\n")  # fmt: skip
    with pytest.raises(RuntimeError, match="does not load back"):
        write_card(card(drawing(), None, {}), tmp_path)
