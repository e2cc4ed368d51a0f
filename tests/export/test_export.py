"""Exports are loaded back and compared before they are in their place; nothing is half-overwritten."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.condition import Demand
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.export.card import Known, card, known, write_card
from l2m_design.export.huggingface import Export, export_huggingface, write_model
from l2m_design.export.loaded import examine
from l2m_design.export.placing import placed
from l2m_design.export.proof import Proof
from l2m_design.export.readme import readme
from l2m_design.export.targets import pick
from l2m_design.laws import PowerLaw
from l2m_design.model.weights import load_weights
from l2m_design.terms import Terms
from tests.command import l2m


def drawing(**changes: Any) -> Architecture:
    layer = {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 8} | changes.pop("layer", {})
    plain = {"vocabulary": 50, "width": 24, "layers": [layer] * 2} | changes
    return Architecture.parse(plain, "drawing")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A drawing of 256 tokens, trained for a few steps by `l2m train`, exported as a Granite."""
    folder = tmp_path_factory.mktemp("exported")
    layers = [
        {"kind": "mamba2", "d_state": 4, "head_dim": 8},
        {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 12},
    ]
    drawing(vocabulary=256, layers=layers).save(folder / "drawing.yaml")
    recipe = ("length=64", "tokens=1024", "batch_tokens=256", "windows=32")
    words = [word for setting in recipe for word in ("--set", setting)]
    done = l2m(
        "train",
        "drawing.yaml",
        "--corpus",
        "santa-fe:beta=0.5,pairs=512,keys=64,documents=80",
        *words,
        "--out",
        "trained",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    done = l2m("export", "trained", "--to", "huggingface", "--weights", "trained/weights.safetensors", "--out", "out",
               "--json", cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def drawing_of(folder: Path) -> Architecture:
    return Architecture.load(folder / "drawing.yaml")


def test_trained_weights_are_the_ones_exported_and_proven(exported: tuple[Path, dict[str, Any]]) -> None:
    folder, answer = exported
    assert answer["format"] == "GraniteMoeHybridForCausalLM"
    assert answer["loads"]
    assert answer["max_logit_difference"] <= 1e-4
    assert answer["cache_bytes"]["held"] == answer["cache_bytes"]["law"]
    names = {Path(file).name for file in answer["files"]}
    assert names == {"README.md", "architecture.yaml", "card.json", "config.json", "model.safetensors"}
    found, theirs = examine(str(folder / "out"), torch.arange(40)[None], 4, own_code=False)
    ours = load_weights(Architecture.load(folder / "out"), folder / "trained" / "weights.safetensors").eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs[:, :40], ours(torch.arange(40)[None]), atol=1e-4, rtol=0)
    assert not found["missing"]


def test_the_card_tells_losses_with_intervals_limits_and_an_example_that_runs(
    exported: tuple[Path, dict[str, Any]],
) -> None:
    folder, _ = exported
    text = (folder / "out" / "README.md").read_text()
    assert re.search(r"late loss \(test\): \d\.\d{4} \[\d\.\d{4}, \d\.\d{4}\] \(95%\) nats", text)
    assert "native (not llama.cpp)" in text
    assert "The folder has no tokenizer" in text
    assert f"{drawing_of(folder).state.bytes(65536, 'bfloat16'):,} bytes at 65,536 tokens" in text
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(code.splitlines()) == 5
    done = subprocess.run([sys.executable, "-c", code], cwd=folder / "out", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == len("The state of ") + 16


@pytest.mark.parametrize(
    ("prefactor", "has_level", "said"),
    [
        (1e9, True, "nats per element, measured for each mixer type on a known source (attention 0.5, "),
        (1e9, True, "- longest context covered: 0 tokens"),
        (1e-9, True, "- longest context covered: at least 16,777,216 tokens"),
        (2.0, False, "- longest context covered: not judged"),
    ],
)  # fmt: skip
def test_the_card_tells_reach_and_what_an_element_holds(prefactor: float, has_level: bool, said: str) -> None:
    demand = Demand(PowerLaw(prefactor, 0.7), Terms(nats_by_kind={"attention": 0.5}), has_level)
    target, proof = pick(drawing())[0], Proof("LlamaForCausalLM", 100, 0.0, 0.0, 1, 1)
    assert said in readme(target, drawing(), proof, card(drawing(), demand, {}), trained=False)


def test_an_export_is_refused_where_one_is_and_replaced_whole_by_force(
    exported: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out = shutil.copytree(exported[0] / "out", tmp_path / "out")
    (out / "notes.txt").write_text("mine")
    (out / "model-00002-of-00002.safetensors").write_text("an older shard")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(BadInput, match="already contains files; give `force`"):
        export_huggingface(Export(drawing()), out)
    with pytest.raises(BadInput, match="does not name the architecture of its weights"):
        export_huggingface(Export(drawing_of(exported[0]), out / "model.safetensors"), out, force=True)
    with pytest.raises(BadInput, match="contains the weights of architecture"):
        export_huggingface(Export(drawing(), exported[0] / "trained" / "weights.safetensors"), out, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    result = export_huggingface(Export(drawing()), out, force=True)
    assert result["format"] == "LlamaForCausalLM"
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "model-00002-of-00002.safetensors").exists()
    assert json.loads((out / "config.json").read_text())["model_type"] == "llama"


def test_a_failed_proof_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(target: Any, model: Any, folder: Path) -> None:
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr("l2m_design.export.huggingface.write_model", broken)
    with pytest.raises(WorkFailed, match="does not load"):
        export_huggingface(Export(drawing()), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_target_that_fails_its_proof_gives_way_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(target: Any, model: Any, folder: Path) -> None:
        write_model(target, model, folder)
        if target.name == "llama":
            (folder / "config.json").write_text("{}")

    monkeypatch.setattr("l2m_design.export.huggingface.write_model", broken)
    result = export_huggingface(Export(drawing()), tmp_path / "out")
    assert result["target"] == "smollm3"
    assert "does not load" in result["failed"]["llama"]
    assert set(result["passed_over"]) == {"llama", "mistral"}
    with pytest.raises(WorkFailed, match="does not load"):
        export_huggingface(Export(drawing()), tmp_path / "other", name="llama")


@pytest.mark.parametrize("out", [".", ".."])
def test_a_folder_that_one_stands_in_is_not_replaced(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(BadInput, match="is the current folder"), placed(Path(out), force=True):
        pass


def test_force_replaces_exports_and_no_other_folder(tmp_path: Path) -> None:
    mine = {"README.md": "mine", "config.json": "{}", "l2m_notes.py": "mine"}
    (tmp_path / "home").mkdir()
    for name, text in mine.items():
        (tmp_path / "home" / name).write_text(text)
    with pytest.raises(BadInput, match="`force` replaces exports only"), placed(tmp_path / "home", force=True):
        pass
    assert {path.name: path.read_text() for path in (tmp_path / "home").iterdir()} == mine
    with pytest.raises(BadInput, match="is not a folder"), placed(tmp_path / "home" / "README.md", force=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_swap_that_fails_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "card.json").write_text("{}")
    (tmp_path / "out" / "old.txt").write_text("old")
    rename = Path.rename

    def failing(path: Path, to: Path) -> Path:
        if path.name.startswith(".out.") and to.name == "out":
            raise OSError("no")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"), placed(tmp_path / "out", force=True):
        pass
    assert (tmp_path / "out" / "old.txt").read_text() == "old"


def test_a_card_is_never_put_beside_the_weights_of_another_drawing(
    exported: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(exported[0] / "out", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    drawing().save(tmp_path / "other.yaml")
    done = l2m("export", "other.yaml", "--out", "out", "--force", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2, "l2m: out: contains the weights of another architecture; give another --out\n"
    )  # fmt: skip
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert l2m("export", "out", "--out", "out", "--force", cwd=tmp_path).returncode == 0


def test_a_drawing_written_over_a_card_does_not_leave_the_old_card(tmp_path: Path) -> None:
    write_card(card(drawing(), None, {}), tmp_path / "out")
    drawing(width=32).save(tmp_path / "other.yaml")
    assert l2m("export", "other.yaml", "--to", "yaml", "--out", "out", "--force", cwd=tmp_path).returncode == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["architecture.yaml"]


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
        assert known(source) == Known(first.judged, first.provenance)
    assert known(tmp_path / "architecture.yaml") == Known()


def test_a_file_that_does_not_load_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2m_design.export.card.to_yaml", lambda data: "vocabulary: 50\nwidth: 16\nlayers:\n- "
                        "{kind: attention, heads: 1, kv_heads: 1, head_dim: 8}\n")  # fmt: skip
    with pytest.raises(RuntimeError, match="does not load back"):
        write_card(card(drawing(), None, {}), tmp_path)
