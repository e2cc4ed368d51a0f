"""Kernels of other libraries: called in their own layouts, and held against torch where they run."""

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from l2m_design.model.candidates import CANDIDATES, Candidate
from l2m_design.model.probes import probe_all
from tests.model.test_kernels import measure


def memory_efficient_attention(query: Tensor, key: Tensor, value: Tensor, attn_bias: Any) -> Tensor:
    """What xformers computes, by its documentation: [b t h k], a bias that knows its mask."""
    t = query.shape[1]
    assert query.is_contiguous()
    assert query.dtype == key.dtype == value.dtype
    behind = torch.arange(t)[:, None] - torch.arange(t)
    mask = (behind >= 0) & (behind <= getattr(attn_bias, "window_left", t))
    heads = (z.transpose(1, 2) for z in (query, key, value))
    return F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2)


class LocalAttentionFromBottomRightMask:
    def __init__(self, window_left: int, window_right: int) -> None:
        assert window_right == 0
        self.window_left = window_left


def test_xformers_is_called_in_its_own_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    ops: Any = type(sys)("xformers.ops")
    ops.memory_efficient_attention, ops.LowerTriangularMask = memory_efficient_attention, object
    biases: Any = type(sys)("xformers.ops.fmha.attn_bias")
    biases.LocalAttentionFromBottomRightMask = LocalAttentionFromBottomRightMask
    for name in ("xformers", "xformers.ops.fmha"):
        package = type(sys)(name)
        package.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    monkeypatch.setitem(sys.modules, "xformers.ops.fmha.attn_bias", biases)
    for candidate in (c for c in CANDIDATES if c.library == "xformers"):
        probe, _ = measure(candidate)
        assert probe.used, probe.reason
        assert probe.error is not None
        assert (probe.error > 1e-4) == (candidate.dtype == torch.bfloat16)
        z = torch.zeros(1, 2, 40, 8)
        assert candidate.fits(z, z, z)
        assert not candidate.fits(z, z, z, 5, 2)


def chunk_simple_gla(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, scale: float, initial_state: Tensor | None, output_final_state: bool
) -> tuple[Tensor, Tensor]:
    """What flash-linear-attention computes, by its documentation: q, k [b t h k], v [b t h v], g [b t h] log decays."""
    state = q.new_zeros(len(q), *q.shape[2:], v.shape[-1]).float() if initial_state is None else initial_state
    y = []
    for t in range(q.shape[1]):
        state = state * g[:, t, :, None, None].exp() + k[:, t, :, :, None] * v[:, t, :, None]
        y.append(scale * (q[:, t, :, None].float() @ state)[:, :, 0])
    return torch.stack(y, dim=1).to(v.dtype), state


def chunk_gated_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float, initial_state: Tensor, **given: bool
) -> tuple[Tensor, Tensor]:
    """Likewise, beta [b t h]."""
    state, y = initial_state, []
    for t in range(q.shape[1]):
        state, key = state * g[:, t, :, None, None].exp(), k[:, t, :, :, None].float()
        error = v[:, t, :, None].float() - key.transpose(-1, -2) @ state
        state = state + key @ (beta[:, t, :, None, None].float() * error)
        y.append(scale * (q[:, t, :, None].float() @ state)[:, :, 0])
    return torch.stack(y, dim=1).to(v.dtype), state


def test_flash_linear_attention_is_called_in_its_own_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = {"simple_gla": chunk_simple_gla, "gated_delta_rule": chunk_gated_delta_rule}
    for name in ("fla", "fla.ops", *(f"fla.ops.{module}" for module in functions)):
        package: Any = type(sys)(name)
        package.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, package)
    for module, function in functions.items():
        setattr(sys.modules[f"fla.ops.{module}"], function.__name__, function)
    for candidate in (c for c in CANDIDATES if c.library == "fla"):
        probe, function = measure(candidate)
        assert probe.used, probe.reason
        assert probe.error is not None
        assert (probe.error > 1e-4) == (candidate.dtype == torch.bfloat16)
        assert not candidate.fits(torch.zeros(1, 63, 2, 64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: f"{c.field}, {c.dtype}, by {c.name}")
def test_installed_kernels_agree_with_torch_on_a_gpu(candidate: Candidate) -> None:
    probe = probe_all([candidate], torch.device("cuda"), fresh=True)[0]
    if not probe.found:
        pytest.skip(f"{candidate.library} is not installed")
    assert probe.used or "of torch's speed" in probe.reason, probe.reason


@pytest.mark.integration
@pytest.mark.parametrize("library", ["mamba_ssm", "fla"])
def test_kernels_of_libraries_agree_in_tritons_interpreter(library: str, tmp_path: Path) -> None:
    """The real packages on a CPU: their Triton kernels interpreted, mamba-ssm's selective scan by its own reference."""
    script = Path(__file__).with_name("interpreted.py")
    words = [sys.executable, str(script), library, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
