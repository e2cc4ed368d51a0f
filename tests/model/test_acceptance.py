"""Acceptance: a wrong value fails its row, an error is a row too, and what takes too long is stopped."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from l2m_design.model.acceptance import Found, Skipped, judge, judged, machine_checks, milliseconds
from l2m_design.model.acceptance_values import check_values, mixer_types, short_checks
from l2m_design.model.kernels import TORCH, Kernels
from l2m_design.model.probes import probed

CPU = torch.device("cpu")
TYPES = mixer_types(heads=4, head_dim=16, chunk=16, window=32)


@pytest.mark.parametrize(
    ("error", "works", "words"),
    [
        (ValueError("broken\nat length"), False, "ValueError: broken"),
        (Skipped("no compiler"), None, "skipped: no compiler"),
        (torch.OutOfMemoryError("40 GiB"), False, "out of memory: 40 GiB"),
    ],
)
def test_an_error_becomes_a_row_of_one_line(error: Exception, works: bool | None, words: str) -> None:
    def check() -> Found:
        raise error

    row = judge("values", ("attention", check))
    assert (row.works, row.found) == (works, words)


def test_a_check_that_swallows_errors_is_stopped_at_its_limit() -> None:
    def check() -> Found:
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    began = time.monotonic()
    row = judge("layers", ("endless", check), limit=0.2)
    assert row.works is None
    assert "stopped after" in row.found
    assert time.monotonic() - began < 5
    assert judge("layers", ("next", lambda: Found("ok")), limit=5).works


def test_the_machine_of_the_tests_computes() -> None:
    rows = {row.what: row for row in judged("machine", machine_checks(CPU, small=True))}
    assert rows["float32 products without TF32"].works
    assert rows["a Triton kernel"].works is None
    assert milliseconds(lambda: time.sleep(0.01), CPU) >= 10


@pytest.mark.parametrize("name", TYPES)
def test_right_values_are_accepted(name: str) -> None:
    found = check_values(TYPES[name], 64, 192, CPU)
    assert found.works, found.words


def scaled(compute: Callable[..., Any], factor: float) -> Callable[..., Any]:
    def wrong(*inputs: Any) -> Any:
        y = compute(*inputs)
        return y * factor if isinstance(y, Tensor) else (y[0] * factor, *y[1:])

    return wrong


@pytest.mark.parametrize(
    ("name", "field"),
    [("attention", "causal"), ("window, sinks", "window"), ("mamba2", "state_space"), ("mamba1", "selective")],
)
def test_a_kernel_that_errs_by_a_hundredth_fails(name: str, field: str) -> None:
    kernels: Kernels = replace(TORCH, **{field: scaled(getattr(TORCH, field), 1.01)})
    found = check_values(TYPES[name], 64, 192, CPU, kernels)
    assert not found.works, found.words


def test_a_state_that_a_step_spoils_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(*inputs: Any) -> Any:
        y, last = TORCH.state_space(*inputs)
        return y, last * 0.9

    found = check_values(TYPES["mamba2"], 64, 192, CPU, replace(TORCH, state_space=forgetful))
    assert not found.works
    assert isinstance(found.numbers["steps"], float)
    assert found.numbers["steps"] > 1e-4 >= found.numbers["logits"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_accepted() -> None:
    device = torch.device("cuda")
    rows = judged("machine", machine_checks(device)) + judged("values", short_checks(device, probed(device)[0]))
    assert not [f"{row.what}: {row.found}" for row in rows if row.works is False]
