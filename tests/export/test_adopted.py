"""An adopted model's folder: transformers loads it, padded batches generate as alone, and it stays the model's own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from l2m_design.errors import BadInput
from l2m_design.export.adopted import Adopted, export_adopted
from l2m_design.export.hub.adopted import AdoptedForCausalLM
from l2m_design.model.adopted import AdoptedModel
from tests.model.test_adopted import COMMON, adopted, build, tokens

PROMPT, NEW, PADDED = 60, 20, 9

STRANGER = """
import sys
sys.modules["l2m_design"] = None
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
x = torch.arange(60)[None] % 97
print(type(model).__name__, model.generate(x, max_new_tokens=20, do_sample=False)[0, 60:].tolist())
model.save_pretrained(sys.argv[2])
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[AdoptedModel, Path, Adopted]:
    folder = tmp_path_factory.mktemp("adopted")
    model = build("Llama")
    model.save_pretrained(folder / "model")
    made = adopted(model, "model")
    found = export_adopted(made, str(folder / "model"), folder / "out", trained=False, losses="Measured.", force=False)
    return made, folder / "out", found


def test_what_is_written_is_proven(written: tuple[AdoptedModel, Path, Adopted]) -> None:
    made, out, found = written
    assert found["format"] == "AdoptedLlamaForCausalLM"
    assert found["max_logit_difference"] < 1e-4
    assert found["cache_bytes"] == made.cache_bytes(found["cache_tokens"])
    assert {Path(file).name for file in found["files"]} == {path.name for path in out.iterdir()}
    assert "Measured." in (out / "README.md").read_text()
    assert (out / "model.safetensors").read_bytes() == (out.parent / "model" / "model.safetensors").read_bytes()
    settings = json.loads((out / "config.json").read_text())["l2m_cache"]
    assert (settings["allocate"], settings["window"], settings["chunk"]) == ("model", 12, 8)


def test_a_stranger_generates_and_saves(written: tuple[AdoptedModel, Path, Adopted], tmp_path: Path) -> None:
    made, out, _ = written
    prompt = torch.arange(PROMPT)[None] % 97
    want = []
    logits, state = made.prefill(prompt, last=True)
    for _ in range(NEW):
        token = logits[:, -1].argmax(-1) if logits.ndim == 3 else logits.argmax(-1)
        want.append(int(token))
        logits, state = made.step(token, state)
    for folder, copy in ((out, tmp_path / "once"), (tmp_path / "once", tmp_path / "twice")):
        done = subprocess.run(
            [sys.executable, "-c", STRANGER, str(folder), str(copy)],
            env=os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == f"AdoptedLlamaForCausalLM {want}"


def test_padded_batches_samples_and_beams(written: tuple[AdoptedModel, Path, Adopted]) -> None:
    model = AdoptedForCausalLM.from_pretrained(written[1])
    prompts = tokens()[:, :PROMPT].clone()
    mask = torch.ones_like(prompts)
    prompts[0, :PADDED], mask[0, :PADDED] = 0, 0
    padded = model.generate(prompts, attention_mask=mask, max_new_tokens=NEW, do_sample=False)
    alone = model.generate(prompts[:1, PADDED:], max_new_tokens=NEW, do_sample=False)
    assert torch.equal(padded[0, PADDED:], alone[0])
    for how in ({"num_beams": 3}, {"do_sample": True}):
        assert model.generate(prompts, attention_mask=mask, max_new_tokens=5, **how).shape == (2, PROMPT + 5)


def test_without_the_code_it_is_the_model_itself(written: tuple[AdoptedModel, Path, Adopted]) -> None:
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    model = AutoModelForCausalLM.from_pretrained(written[1])
    assert type(model) is LlamaForCausalLM
    with torch.no_grad():
        assert torch.equal(model(tokens()).logits, written[0].model(tokens()).logits)


def test_what_is_saved_again_loads_again(written: tuple[AdoptedModel, Path, Adopted], tmp_path: Path) -> None:
    model = AdoptedForCausalLM.from_pretrained(written[1])
    model.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").glob("*.py")} == {path.name for path in written[1].glob("*.py")}
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert type(model).__name__ == "AdoptedLlamaForCausalLM"
    again = AdoptedForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(tokens()).logits, model(tokens()).logits)


def test_losses_of_several_batches_are_shared(written: tuple[AdoptedModel, Path, Adopted]) -> None:
    model = AdoptedForCausalLM.from_pretrained(written[1])
    alone = model(tokens(), labels=tokens()).loss
    shared = model(tokens(), labels=tokens(), num_items_in_batch=10 * 2 * (tokens().shape[1] - 1)).loss
    assert shared.item() == pytest.approx(alone.item() / 10, rel=1e-4)
    with pytest.raises(ValueError, match="does not support"):
        model.gradient_checkpointing_enable()


def test_tied_weights_and_code_of_others(tmp_path: Path) -> None:
    """Changed weights are written under the names that the model's class gives them; code of others is not named."""
    from safetensors.torch import load_file
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tied: Any = LlamaForCausalLM(LlamaConfig(**COMMON, tie_word_embeddings=True)).eval()
    tied.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    named = config | {"auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(named))
    made = adopted(tied, "layer")
    for trained, out in ((True, tmp_path / "tuned"), (False, tmp_path / "copied")):
        export_adopted(made, str(tmp_path / "model"), out, trained=trained, losses="", force=False)
        weights = load_file(out / "model.safetensors")
        assert "model.embed_tokens.weight" in weights
        assert "lm_head.weight" not in weights
        found = json.loads((out / "config.json").read_text())["auto_map"]
        assert found == {"AutoModelForCausalLM": "adopted_l2m.AdoptedForCausalLM"}


def test_places_that_cannot_be(written: tuple[AdoptedModel, Path, Adopted], tmp_path: Path) -> None:
    made, out, _ = written
    with pytest.raises(BadInput, match="already contains files"):
        export_adopted(made, str(out), out, trained=False, losses="", force=False)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(BadInput, match="no export"):
        export_adopted(made, str(out), tmp_path, trained=False, losses="", force=True)
    assert (tmp_path / "letter.txt").read_text() == "mine"
