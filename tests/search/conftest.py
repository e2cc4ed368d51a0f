"""A study small enough to run whole in a test."""

from pathlib import Path
from typing import Any

import pytest

from l2m_design.search.run import Folders, Search
from l2m_design.search.settings import load_study

SPACE = """
depth: 2
parameters: 12000
tolerance: 0.1
mlp: {ratio: 2.0}
kinds:
  attention: {kind: attention, heads: 2, kv_heads: $kv_heads, head_dim: 8}
  window: {kind: attention, heads: 2, kv_heads: $kv_heads, head_dim: 8, window: 16}
  mamba2: {kind: mamba2, d_state: 8, head_dim: 8}
  sparse: {kind: sparse_attention, heads: 2, kv_heads: $kv_heads, head_dim: 8, chunk: 8, exponent: $exponent}
choices:
  kv_heads: [1, 2]
  exponent: [0.3, demand]
"""
STUDY = """
name: tiny
corpus: "santa-fe:beta=0.5,pairs=128,keys=8,documents=64"
space: space.yaml
demand: {beta: 0.5, prefactor: 0.05}
condition: {length: 1024, shortest: 64}
recipe: {length: 64, tokens: 2048, batch_tokens: 256, windows: 16, rungs: [0.5]}
search: {trials: 8, warmup_trials: 4, price: 0.01}
threads: 1
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study file with its space beside it."""
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


@pytest.fixture
def opened(study: Path):
    """Open the study with overrides, in the folder of the test."""

    def open_(*overrides: str, **arguments: Any) -> Search:
        settings, space = load_study(study, overrides)
        folders = Folders(study.parent / "runs", study.parent / "reports")
        tracking = arguments.get("tracking", f"sqlite:///{study.parent}/mlflow.db")
        return Search(settings, space, folders, tracking)

    return open_
