"""mamba_ssm's format: read back by another reading of its layout, and by its own references where they are there."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.export.huggingface import Export, export_huggingface, write_model
from l2m_design.export.proof import judge, tokens_for
from l2m_design.export.reading import Scan, examine
from l2m_design.export.targets import MAMBA_SSM, pick
from l2m_design.model import build

ATTENTION = {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 8}
MAMBA = {"kind": "mamba2", "d_state": 8, "head_dim": 8}
FEW = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def drawing(layers: list[dict[str, Any]], **changes: Any) -> Architecture:
    return Architecture.parse({"vocabulary": 50, "width": 24, "layers": layers} | changes, "drawing")


def proven(architecture: Architecture, folder: Path, scan: Scan | None = None) -> float:
    target, _ = pick(architecture, "mamba-ssm")
    torch.manual_seed(3)
    model = build(architecture).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    write_model(target, model, folder)
    tokens = tokens_for(architecture)
    return judge(model, target, tokens, *examine(str(folder), tokens, scan)).max_logit_difference


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        MAMBA_SSM.save({"a": torch.zeros(9)}, tmp_path)


@FEW
@given(data=st.data())
def test_any_drawing_that_it_takes_reads_back_the_same(data: st.DataObject, tmp_path_factory: Any) -> None:
    draw = data.draw
    ssm = MAMBA | {"d_state": draw(st.integers(1, 9)), "groups": draw(st.integers(1, 2)),
                   "expand": draw(st.sampled_from([2, 4])), "d_conv": draw(st.integers(2, 5))}  # fmt: skip
    one = ATTENTION | {"rope_theta": draw(st.sampled_from([None, 500.0])), "head_dim": draw(st.sampled_from([6, 8])),
                       "short_conv": draw(st.sampled_from([None, 3]))}  # fmt: skip
    layers = draw(st.lists(st.sampled_from([ssm, one]), min_size=1, max_size=3))
    architecture = drawing(
        layers, tied_embeddings=draw(st.booleans()), mlp={"ratio": draw(st.sampled_from([2.0, 6.0]))}
    )
    assert proven(architecture, tmp_path_factory.mktemp("export")) <= 1e-4


def test_the_export_says_what_was_proven_and_how(tmp_path: Path) -> None:
    result = export_huggingface(Export(drawing([MAMBA, ATTENTION])), tmp_path / "out", name="mamba-ssm")
    assert (result["format"], result["label"], result["proven_by"]) == ("MambaLMHeadModel", "mamba_ssm", "reading")
    assert result["cache_bytes"]["held"] is None
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["attn_layer_idx"], config["d_intermediate"] % 128) == ([1], 0)
    assert "mamba_ssm itself was not run" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([MAMBA, ATTENTION | {"window": 4}], r"layers\.1 .*window"),
        ([MAMBA, ATTENTION | {"qk_norm": True}], r"layers\.1 .*qk_norm"),
        ([MAMBA, MAMBA | {"d_state": 4}], r"layers\.1 .*d_state \(4\) differs"),
        ([ATTENTION, ATTENTION | {"short_conv": 3}], r"layers\.1 .*short_conv in all attention layers or in none"),
        ([MAMBA, MAMBA | {"state_dtype": "bfloat16"}], r"layers\.1 .*state_dtype \(bfloat16\)"),
        ([{"kind": "mamba1"}], r"layers\.0 .*full attention and Mamba-2 only"),
    ],
)
def test_what_it_cannot_carry_is_refused(layers: list[Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        pick(drawing(layers), "mamba-ssm")


def test_a_weight_that_has_no_place_fails_the_proof(tmp_path: Path) -> None:
    architecture = drawing([MAMBA])
    target, _ = pick(architecture, "mamba-ssm")
    model = build(architecture)
    target.save(target.weights(model) | {"stray": torch.ones(1)}, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(target.config(architecture)))
    tokens = tokens_for(architecture)
    with pytest.raises(WorkFailed, match="that the model does not have: stray"):
        judge(model, target, tokens, *examine(str(tmp_path), tokens))


def test_mamba_ssms_own_reference_of_the_scan_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", types.ModuleType("selective_scan_cuda"))
    combined = pytest.importorskip("mamba_ssm.ops.triton.ssd_combined", reason="mamba_ssm is not installed")

    def reference(x: torch.Tensor, dt: torch.Tensor, A: torch.Tensor, B: torch.Tensor, C: torch.Tensor) -> torch.Tensor:
        t, chunk = x.shape[1], 8
        x, dt, B, C = (torch.nn.functional.pad(z, (0, 0) * (z.ndim - 2) + (0, -t % chunk)) for z in (x, dt, B, C))
        return combined.ssd_chunk_scan_combined_ref(x, dt, A, B, C, chunk)[:, :t]

    assert proven(drawing([MAMBA, ATTENTION, MAMBA]), tmp_path, reference) <= 1e-4


def test_mamba_ssms_own_modules_read_the_same_attention_and_mlp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MHA (without rotary positions) and GatedMLP are plain torch: they run on a CPU."""
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", types.ModuleType("selective_scan_cuda"))
    mha = pytest.importorskip("mamba_ssm.modules.mha", reason="mamba_ssm is not installed")
    from mamba_ssm.modules.mlp import GatedMLP

    architecture = drawing([ATTENTION | {"rope_theta": None, "short_conv": 3}])
    target, _ = pick(architecture, "mamba-ssm")
    model = build(architecture).eval()
    config, weights = target.config(architecture), target.weights(model)
    theirs = mha.MHA(24, **config["attn_cfg"])
    mlp = GatedMLP(24, config["d_intermediate"], 24)
    for module, at in ((theirs, "backbone.layers.0.mixer."), (mlp, "backbone.layers.0.mlp.")):
        module.load_state_dict({k.removeprefix(at): v for k, v in weights.items() if k.startswith(at)})
    x, block = torch.randn(2, 20, 24), model.blocks[0]
    with torch.inference_mode():
        torch.testing.assert_close(theirs(x), block.mixer(x, block.mixer.empty(2))[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(mlp(x), block.mlp(x), atol=1e-5, rtol=0)
