"""A folder with two drawings: one of fixed state, one that grows."""

from pathlib import Path

import pytest

DRAWING = """
vocabulary: 256
width: 32
layers:
  - {kind: mamba2, d_state: 8, head_dim: 8}
  - {kind: attention, heads: 2, kv_heads: 1, head_dim: 16, window: 32}
"""
GROWING = DRAWING.replace(", window: 32", "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fixed.yaml").write_text(DRAWING)
    (tmp_path / "growing.yaml").write_text(GROWING)
    return tmp_path
