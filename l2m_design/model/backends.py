"""Devices: which one computes, on how many threads, in which precision."""

import ctypes
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput, Notice
from l2m_design.model.language import build
from l2m_design.nvidia import driver, unused

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's names of mallopt's parameters


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU that works, else the CPU. If there is a GPU that torch cannot use, a Notice says so, once
    per process. Raises BadInput when a named device is not there.
    """
    if name == "auto":
        device = best_device()
        if device.type == "cpu":
            _tell_of_unused_gpu()
        return device
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        why = "" if "Expected one of" in reason else f" ({reason})"
        raise BadInput(f"device {name}: cannot be used here{why}; allowed: auto, cpu, cuda, cuda:N") from None
    return device


def best_device() -> torch.device:
    """The first GPU that works, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def unused_gpu() -> str | None:
    """Why torch uses no GPU though an NVIDIA driver is here; none without a driver, or where GPUs were hidden."""
    if torch.cuda.is_available() or os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return None
    version = driver()
    return unused(version, torch.__version__, torch.version.cuda) if version else None


@lru_cache(maxsize=1)
def _tell_of_unused_gpu() -> None:
    if reason := unused_gpu():
        warnings.warn(f"device auto: {reason}", Notice, stacklevel=3)


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """CUDA devices that this process sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def use_threads(count: int | None) -> None:
    """Compute on this many CPU threads; none for all cores."""
    torch.set_num_threads(count or usable_cores())


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, so that large tensors are not fetched page by page each time.

    With glibc only (elsewhere nothing happens): blocks of any size come from the heap, which is not handed back.
    Element-wise work on tensors above 32 MB becomes 4 to 10 times faster; peak memory stays what it is.
    """
    heap = getattr(ctypes.CDLL(None), "mallopt", None)
    if heap is not None:
        heap(MMAP_THRESHOLD, 2**30)
        heap(TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """Products of float32 matrices within: `highest` in float32, `high` in TF32 where the device has it (10 bits of
    mantissa), `medium` in bfloat16 (7 bits). Afterwards what was before.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def on_device(tokens: NDArray[np.int64], device: torch.device) -> Tensor:
    """The same tokens as a tensor there; a GPU copies them from pinned memory, and nothing waits for it."""
    held = torch.from_numpy(tokens)
    return held.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else held.to(device)


def device_name(device: torch.device) -> str:
    """The GPU's name, or the number of CPU cores."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{usable_cores()} cores"


def computes(device: torch.device) -> bool:
    """Does a tiny forward and backward pass give finite numbers on this device?"""
    layers = [
        {"kind": "mamba2", "d_state": 4, "head_dim": 8},
        {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 8},
    ]
    model = build(Architecture.parse({"vocabulary": 16, "width": 16, "layers": layers}, "doctor")).to(device)
    with autocast(device):
        loss = model(torch.zeros(1, 8, dtype=torch.long, device=device)).float().logsumexp(-1).mean()
    loss.backward()
    return bool(loss.isfinite())


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the device is a GPU; plain float32 on a CPU, where bfloat16 is slower."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
