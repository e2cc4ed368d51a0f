"""The rows of accept_gpu.py: what a probe, a section and the clock make of them, without starting a process."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from l2m_design.model.acceptance import judge
from l2m_design.model.probing import Probe

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import accept_gpu


@pytest.mark.parametrize(
    ("found", "works"),
    [
        ({"found": False, "reason": "not installed"}, None),
        ({"reason": "not tried: needs a CUDA GPU, the device is cpu"}, None),
        ({"reason": "does not load: undefined symbol"}, None),
        ({"loads": True, "reason": "compiling: stopped after 60 s", "stopped": True}, None),
        ({"loads": True, "error": 1e-3, "reason": "timing: stopped after 60 s", "stopped": True}, True),
        ({"loads": True, "error": 1e-3, "speed": 0.7, "reason": "agrees, at 0.70 of torch's speed"}, True),
        ({"loads": True, "error": 1e-3, "speed": 1.7, "used": True}, True),
        ({"loads": True, "error": 1.0, "reason": "differs from torch by 1", "wrong": True}, False),
        ({"reason": "loading: the process crashed (signal 11)", "wrong": True}, False),
    ],
)
def test_only_a_probe_that_found_something_wrong_fails(found: dict[str, Any], works: bool | None) -> None:
    probe = Probe("fast", "window", "bfloat16", **{"found": True, "seconds": 2.0, **found})
    apart: Any = SimpleNamespace(wait=lambda: probe)
    row = judge("kernels", ("window", lambda: accept_gpu.probe_found(apart)))
    assert row.works is works
    assert probe.reason in row.found
