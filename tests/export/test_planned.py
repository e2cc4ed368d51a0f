"""A plan's folder: transformers loads it with the plan's cache, by a class of its own where one carries the plan."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from l2m_design.architecture.plans import FULL, CachePlan, Kept
from l2m_design.architecture.readers import published
from l2m_design.errors import BadInput
from l2m_design.export.planned import RULE, export_plan
from l2m_design.export.plans import PlanCard, is_plan, read_in, written_in
from l2m_design.laws import StateLaw
from l2m_design.model.adopted import shape_of
from l2m_design.model.planned import PlannedModel
from l2m_design.model.weights import write_tensors
from l2m_design.training.start import with_states
from tests.export.test_adopted import NEW, PROMPT, STRANGER
from tests.model.hybrids import HYBRIDS, hybrid
from tests.model.test_adopted import build, tokens
from tests.model.test_planned import mixed, rule

WINDOW = Kept("window", 24)


def card(folder: Path, plan: CachePlan, kind: str = "Llama", heads: int = 6, **fields: Any) -> Path:
    """A plan file, its rule, and the model that it is for."""
    (hybrid(kind) if kind in HYBRIDS else build(kind)).save_pretrained(folder / "model")
    write_tensors(folder / RULE, rule(heads, 16).state_dict(), {})
    told = {"picture": plan.picture, "state_bytes": 1, "length": 75, "losses": "Measured.", "study": "s"}
    made = PlanCard(start=str(folder / "model"), plan=plan.plain(), start_fingerprint="x", **told | fields)
    made.save(folder / "plan.yaml")
    return folder / "plan.yaml"


@pytest.mark.parametrize("plan", [mixed(), mixed().competing()], ids=["each layer", "all heads compete"])
def test_any_plan_is_read_by_the_code_in_its_folder(tmp_path: Path, plan: CachePlan) -> None:
    source = card(tmp_path, plan)
    assert is_plan(source)
    assert not is_plan(tmp_path / "model" / "config.json")
    found = export_plan(source, tmp_path / "out", native=None, force=False)
    assert found["format"] == "AdoptedLlamaForCausalLM"
    made = PlannedModel(build("Llama"), plan, rule(6, 16))
    assert found["cache_bytes"] == made.cache_bytes(found["cache_tokens"])
    want, state = [], None
    prompt = torch.arange(PROMPT)[None] % 97
    with torch.no_grad():
        logits, state = made.prefill(prompt, last=1)
        for _ in range(NEW):
            want.append(int(logits[:, -1].argmax(-1)))
            logits, state = made.prefill(torch.tensor([[want[-1]]]), state)
    for folder, copy in ((tmp_path / "out", tmp_path / "once"), (tmp_path / "once", tmp_path / "twice")):
        done = subprocess.run(
            [sys.executable, "-c", STRANGER, str(folder), str(copy)],
            env=os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == f"AdoptedLlamaForCausalLM {want}"


@pytest.mark.parametrize("kept", [Kept("sinks+window", 10, 3), Kept("sparse", 12, 2, 8)], ids=["window", "sparse"])
def test_recurrent_layers_of_a_hybrid_go_on_in_generation(tmp_path: Path, kept: Kept) -> None:
    """Loaded back, it generates as read whole, and holds the bytes of its law, those of recurrent layers included."""
    model = hybrid("Qwen3Next")
    own = CachePlan.own(with_states(model.config, shape_of(model, bounded=False)))
    source = card(tmp_path, own.but(1, [0, 1], kept), kind="Qwen3Next", heads=4)
    found = export_plan(source, tmp_path / "out", native=None, force=False)
    assert found["format"] == "AdoptedQwen3NextForCausalLM"
    assert judged(tmp_path / "out").bytes(500, "float32") == own.but(1, [0, 1], kept).bytes(500, 16, "float32")


def judged(folder: Path) -> StateLaw:
    """What `l2m check` counts."""
    return published(folder, "transformers").state


@pytest.mark.parametrize(
    ("kind", "plan", "found"),
    [
        ("Llama", CachePlan.alike((FULL, WINDOW, WINDOW), 2), "SmolLM3ForCausalLM"),
        ("Qwen3", CachePlan.alike((WINDOW, FULL, WINDOW), 2), "Qwen3ForCausalLM"),
        ("Qwen2", CachePlan.alike((Kept("window", 20), FULL, Kept("window", 20)), 2), "Qwen2ForCausalLM"),
    ],
)
def test_full_layers_and_one_window_are_a_class_of_transformers(
    tmp_path: Path, kind: str, plan: CachePlan, found: str
) -> None:
    source = card(tmp_path, plan, kind)
    written = export_plan(source, tmp_path / "out", native=None, force=False)
    assert written["format"] == found
    assert not list((tmp_path / "out").glob("*.py"))
    assert written["max_logit_difference"] < 1e-4
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        ours = PlannedModel(build(kind), plan)(tokens())
        assert (loaded(tokens()).logits - ours).abs().max() < 1e-5


def test_a_healed_plan_that_a_class_carries_may_be_read_by_our_code(tmp_path: Path) -> None:
    plan = CachePlan.alike((FULL, WINDOW, WINDOW), 2)
    source = card(tmp_path, plan)
    weights = dict(build("Llama").named_parameters())
    healed = {name: weight * 1.01 for name, weight in weights.items()}
    write_tensors(tmp_path / "healed.safetensors", healed, {})
    card(tmp_path, plan, healed=str(tmp_path / "healed.safetensors"))
    export_plan(source, tmp_path / "out", native=False, force=False)
    assert "l2m_cache" in json.loads((tmp_path / "out" / "config.json").read_text())
    from safetensors.torch import load_file

    found = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(found["model.norm.weight"], healed["model.norm.weight"])


def test_what_cannot_be_written(tmp_path: Path) -> None:
    source = card(tmp_path, mixed())
    with pytest.raises(BadInput, match="S H H: only full layers and windows of one size without sinks"):
        export_plan(source, tmp_path / "out", native=True, force=False)
    (tmp_path / RULE).unlink()
    with pytest.raises(BadInput, match=r"cache_rule\.safetensors: cannot be read"):
        export_plan(source, tmp_path / "out", native=None, force=False)
    card(tmp_path, CachePlan.alike((FULL,) * 2, 2))
    with pytest.raises(BadInput, match="a plan of 2 layers for a model of 3"):
        export_plan(source, tmp_path / "out", native=None, force=False)
    card(tmp_path, mixed(), healed=str(tmp_path / "nothing"))
    with pytest.raises(BadInput, match="healed: no file"):
        export_plan(source, tmp_path / "out", native=None, force=False)
    assert not (tmp_path / "out").exists()


def test_a_plan_names_its_model_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, folder = tmp_path / "runs" / "model.gguf", tmp_path / "reports" / "study"
    model.parent.mkdir()
    folder.mkdir(parents=True)
    model.touch()
    assert written_in(folder, "runs/model.gguf") == written_in(folder, str(model)) == "../../runs/model.gguf"
    assert Path(read_in(folder, "../../runs/model.gguf")).resolve() == model
    assert written_in(Path("/elsewhere"), "runs/model.gguf") == str(model)
    assert written_in(folder, "owner/name") == read_in(folder, "owner/name") == "owner/name"
    monkeypatch.chdir("/")
    assert Path(read_in(folder, "../../runs/model.gguf")).resolve() == model
