"""Older transformers read and run what is written today: `make versions`, or L2M_TEST_TRANSFORMERS=4.57.3 and such."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from l2m_design.architecture import Architecture
from l2m_design.export.huggingface import write_model
from l2m_design.export.targets import pick
from l2m_design.model import build

VERSION = os.environ.get("L2M_TEST_TRANSFORMERS")
ATTENTION = {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 6}
MAMBA = {"kind": "mamba2", "d_state": 8, "head_dim": 8}
SPARSE = {"kind": "sparse_attention", "heads": 4, "kv_heads": 2, "head_dim": 6, "chunk": 8, "exponent": 0.6}
CASES = {
    "llama": [ATTENTION] * 2,
    "mistral": [ATTENTION | {"window": 10}] * 2,
    "smollm3": [ATTENTION, ATTENTION | {"window": 10, "rope_theta": None}],
    "qwen3": [ATTENTION | {"qk_norm": True}, ATTENTION | {"qk_norm": True, "window": 10}],
    "granite": [MAMBA, ATTENTION],
    "granite without positions": [MAMBA, ATTENTION | {"rope_theta": None}, MAMBA],
    "remote": [SPARSE, MAMBA, ATTENTION | {"window": 10, "sinks": 2}],
    "deepseek": [{"kind": "mla", "heads": 2, "head_dim": 8, "kv_rank": 16, "rope_dim": 4}] * 2,
    "qwen3_5": [{"kind": "gated_deltanet", "heads": 2, "head_dim": 8}, ATTENTION | {"qk_norm": True}],
}
YOUNGER = {"qwen3_5": "5."}
ENDS = ("", "tokens.npy", "logits.npy")
SCRIPT = """
import sys; sys.modules["l2m_design"] = None
import numpy, torch, transformers
assert transformers.__version__ == sys.argv[1], transformers.__version__
model, info = transformers.AutoModelForCausalLM.from_pretrained(
    sys.argv[2], output_loading_info=True, trust_remote_code=sys.argv[5] == "remote")
assert not info["missing_keys"] and not info["unexpected_keys"], info
with torch.inference_mode():
    logits = model.eval().float()(torch.from_numpy(numpy.load(sys.argv[3])), use_cache=False).logits
    numpy.save(sys.argv[4], logits.numpy())
    plainly = {"max_new_tokens": 20, "do_sample": False}
    written = [model.generate(torch.arange(30)[None], use_cache=cached, **plainly) for cached in (True, False)]
assert torch.equal(*written), written
"""


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with another version of transformers; torch and numpy are those of this environment."""
    if VERSION is None:
        pytest.skip("set L2M_TEST_TRANSFORMERS to a version, such as 4.57.3, to install it aside and try it")
    folder = tmp_path_factory.mktemp("older")
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), f"transformers=={VERSION}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for shadowing in folder.glob("numpy*"):
        subprocess.run(["rm", "-r", str(shadowing)], check=True)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_an_older_version_loads_it_with_the_same_logits_and_writes_with_its_cache(
    name: str, older: Path, tmp_path: Path
) -> None:
    if not str(VERSION).startswith(YOUNGER.get(name, "")):
        pytest.skip(f"transformers {VERSION} has no {name}")
    plain: dict[str, Any] = {"vocabulary": 50, "width": 24, "layers": CASES[name]}
    architecture = Architecture.parse(plain, "drawing")
    target, _ = pick(architecture)
    assert target.name == name.split()[0]
    torch.manual_seed(0)
    model, tokens = build(architecture).eval(), torch.arange(80).remainder(50)[None]
    write_model(target, model, tmp_path)
    np.save(tmp_path / "tokens.npy", tokens.numpy())
    words = [sys.executable, "-P", "-c", SCRIPT, str(VERSION), *(str(tmp_path / end) for end in ENDS), name]
    own = os.environ | {"PYTHONPATH": str(older), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    done = subprocess.run(words, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "logits.npy")), model(tokens), atol=1e-4, rtol=0)
