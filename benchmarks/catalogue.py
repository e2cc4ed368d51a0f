"""The catalogue report: state of every mixer counted in real tensors beside its law. Writes reports/mixers/.

Run: python benchmarks/mixers.py > reports/mixers/mixers.txt; python benchmarks/recall.py > reports/mixers/recall.txt;
python benchmarks/catalogue.py. The page holds the picture, made here in a minute, and the two tables as they are.
"""

import html
import json
from pathlib import Path

import torch
from sheet import write

from l2m_design.architecture import Architecture
from l2m_design.model import build, state_elements
from l2m_design.report.figures.state import state_svg

REPORT = Path(__file__).parents[1] / "reports" / "mixers"
LENGTHS = [1, 10, 64, 65, 256, 1000, 4096, 16384]
LONGEST = 2**20
HEADS = {"heads": 4, "kv_heads": 2, "head_dim": 32}
SSM = {"d_state": 16, "head_dim": 32}
LAYERS = {
    "attention": {"kind": "attention", **HEADS},
    "mla": {"kind": "mla", "heads": 4, "head_dim": 32, "kv_rank": 32, "rope_dim": 16},
    "sparse t^0.7": {"kind": "sparse_attention", **HEADS, "chunk": 32, "exponent": 0.7},
    "sparse t^0.5": {"kind": "sparse_attention", **HEADS, "chunk": 32, "exponent": 0.5},
    "checkpointed t^0.7": {"kind": "checkpointed_ssm", **SSM, "exponent": 0.7, "keep": 0.25},
    "window 512, 4 sinks": {"kind": "attention", **HEADS, "window": 512, "sinks": 4},
    "log_linear (log t)": {"kind": "log_linear", **SSM},
    "mamba2": {"kind": "mamba2", **SSM},
    "mamba1": {"kind": "mamba1", "d_state": 16},
    "gated_deltanet": {"kind": "gated_deltanet", "heads": 4, "head_dim": 16},
}


def counted(drawing: Architecture) -> dict[int, int]:
    """State elements by length, from the tensors that a prefill leaves and one step more."""
    model, found = build(drawing), {}
    for length in LENGTHS:
        tokens = torch.randint(0, drawing.vocabulary, (1, length))
        with torch.inference_mode():
            _, state = model.prefill(tokens)
            found[length] = state_elements(state)
            _, state = model.step(tokens[:, 0], state)
            found[length + 1] = state_elements(state)
    return found


def main() -> None:
    torch.manual_seed(0)
    REPORT.mkdir(parents=True, exist_ok=True)
    drawings = {
        name: Architecture.parse({"vocabulary": 256, "width": 64, "layers": [layer]}, name)
        for name, layer in LAYERS.items()
    }
    measured = {name: counted(drawing) for name, drawing in drawings.items()}
    rows = []
    for name, drawing in drawings.items():
        wrong = {t: n for t, n in measured[name].items() if n != drawing.state.elements(t)}
        assert not wrong, f"{name}: {wrong}"
        cells = [name, f"t^{drawing.state.exponent:.2g}", f"{drawing.parameters:,}"]
        cells += [f"{drawing.state.elements(t):,}" for t in (1000, 16384, LONGEST)]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    (REPORT / "state.json").write_text(json.dumps({"layers": LAYERS, "elements": measured}, indent=1) + "\n")
    parts = {"rows": "\n".join(rows), "figure": state_svg(drawings, measured, LONGEST)}
    for name in ("mixers", "recall"):
        parts[name] = html.escape((REPORT / f"{name}.txt").read_text().strip())
    write(Path(__file__).with_suffix(".html"), parts, REPORT / "index.html")


if __name__ == "__main__":
    main()
