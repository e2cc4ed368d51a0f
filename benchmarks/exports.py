"""How far an export's logits, read back in a fresh process, stand from ours: each target with a drawing of its own.

Run: python benchmarks/exports.py
"""

import tempfile
from pathlib import Path
from typing import Any

from l2m_design.architecture import Architecture
from l2m_design.export.huggingface import Export, export_huggingface

ATTENTION = {"kind": "attention", "heads": 8, "kv_heads": 2, "head_dim": 16}
NORMED = ATTENTION | {"qk_norm": True}
WINDOW = ATTENTION | {"window": 64}
MAMBA = {"kind": "mamba2", "d_state": 16, "head_dim": 16}
DELTA = {"kind": "gated_deltanet", "heads": 4, "head_dim": 16}
LATENT = {"kind": "mla", "heads": 4, "head_dim": 16, "kv_rank": 32, "rope_dim": 16}
SPARSE = ATTENTION | {"kind": "sparse_attention", "chunk": 16, "exponent": 0.7}
DRAWINGS: dict[str, list[dict[str, Any]]] = {
    "llama": [ATTENTION] * 2,
    "mistral": [WINDOW] * 2,
    "smollm3": [WINDOW, ATTENTION],
    "qwen3": [NORMED] * 2,
    "granite": [MAMBA, ATTENTION],
    "qwen3_5": [DELTA, NORMED],
    "deepseek": [LATENT] * 2,
    "remote": [MAMBA, SPARSE, WINDOW],
    "mamba-ssm": [MAMBA, ATTENTION],
}


def main() -> None:
    print(f"{'target':<10} logits, at most  cached, at most")
    for name, layers in DRAWINGS.items():
        drawing = Architecture.parse({"vocabulary": 256, "width": 128, "layers": layers}, name)
        with tempfile.TemporaryDirectory() as folder:
            found = export_huggingface(Export(drawing), Path(folder) / "out", name=name)
        cached = found["cached_difference"]
        shown = "-" if cached is None else f"{cached:.1e}"
        print(f"{name:<10} {found['max_logit_difference']:<15.1e}  {shown}", flush=True)


if __name__ == "__main__":
    main()
