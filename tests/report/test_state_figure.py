"""The figure of state laws: every line named, every point where it was counted."""

from l2m_design.architecture import Architecture
from l2m_design.report.figures.state import state_svg

LAYERS = {
    "full": {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8},
    "state space": {"kind": "mamba2", "d_state": 4, "head_dim": 8},
    "tree": {"kind": "log_linear", "d_state": 4, "head_dim": 8},
}


def drawings() -> dict[str, Architecture]:
    return {
        name: Architecture.parse({"vocabulary": 9, "width": 16, "layers": [layer]}, name)
        for name, layer in LAYERS.items()
    }


def test_every_law_is_a_named_line_and_every_count_a_point() -> None:
    svg = state_svg(drawings(), {"full": {1: 16, 100: 1600, 1000: 16000}}, 4096)
    for name, exponent in (("full", "1"), ("state space", "0"), ("tree", "0")):
        assert f"{name}, t^{exponent}" in svg
    bare = state_svg(drawings(), {}, 4096)
    assert svg.count("<use") == bare.count("<use") + 3
    assert svg == state_svg(drawings(), {"full": {1: 16, 100: 1600, 1000: 16000}}, 4096)
