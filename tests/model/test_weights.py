"""Saved weights give the same logits, and only to their own drawing."""

from pathlib import Path

import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.model import build
from l2m_design.model.backends import computes, pick_device
from l2m_design.model.weights import load_weights, save_weights

DRAWING = Architecture.parse(
    {"vocabulary": 11, "width": 16, "layers": [{"kind": "mamba2", "d_state": 4, "head_dim": 8}]}, "drawing"
)


def test_weights_come_back(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = build(DRAWING)
    save_weights(model, tmp_path / "w.safetensors")
    x = torch.arange(10)[None]
    torch.testing.assert_close(load_weights(DRAWING, tmp_path / "w.safetensors")(x), model(x), atol=0, rtol=0)


def test_weights_of_another_drawing_are_bad_input(tmp_path: Path) -> None:
    save_weights(build(DRAWING), tmp_path / "w.safetensors")
    other = DRAWING.model_copy(update={"tied_embeddings": False})
    with pytest.raises(BadInput, match="contains the weights of architecture"):
        load_weights(other, tmp_path / "w.safetensors")
    (tmp_path / "broken").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="not a weights file"):
        load_weights(DRAWING, tmp_path / "broken")


def test_the_cpu_computes_and_a_missing_device_is_bad_input() -> None:
    assert computes(pick_device("cpu"))
    with pytest.raises(BadInput, match="device nonsense"):
        pick_device("nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(BadInput, match="device cuda"):
            pick_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_cpus_logits() -> None:
    torch.manual_seed(0)
    model = build(DRAWING).eval()
    x = torch.arange(10)[None]
    with torch.no_grad():
        expected = model(x)
        found = model.to("cuda")(x.to("cuda")).cpu()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
