"""The driver of a machine decides which build of torch is installed, and a GPU that torch does not see is named."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from l2m_design import nvidia
from l2m_design.cli import doctor
from l2m_design.nvidia import driver, index_for, unused

SCRIPT = Path(nvidia.__file__)
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A machine with this driver by nvidia-smi, or by a text of the kernel module."""

    def make(by_smi: str | None = None, by_module: str | None = None, fails: bool = False) -> None:
        monkeypatch.setattr(nvidia, "KERNEL_MODULE", tmp_path / "version")
        monkeypatch.setenv("PATH", str(tmp_path))
        if by_module:
            (tmp_path / "version").write_text(by_module)
        if by_smi or fails:
            said = "exit 9" if fails else f"echo 'Driver Version                            : {by_smi}'"
            smi = tmp_path / "nvidia-smi"
            smi.write_text(f"#!/bin/sh\n{said}\n")
            smi.chmod(smi.stat().st_mode | stat.S_IXUSR)

    return make


@pytest.mark.parametrize(
    ("given", "version"),
    [
        ({}, None),
        ({"by_smi": "570.86.15"}, "570.86.15"),
        ({"by_module": MODULE}, "550.54.15"),
        ({"by_module": OPEN}, "580.65.06"),
        ({"fails": True, "by_module": MODULE}, "550.54.15"),
        ({"fails": True}, None),
    ],
)
def test_the_driver_is_found_by_nvidia_smi_or_by_its_kernel_module(machine, given, version: str | None) -> None:
    machine(**given)
    assert driver() == version


@pytest.mark.parametrize(
    ("version", "index", "words"),
    [
        (None, "", ""),
        ("580.65.06", "", "CUDA 13, as on PyPI"),
        ("595.1", "", "CUDA 13, as on PyPI"),
        ("579.99", "https://download.pytorch.org/whl/cu126", "torch built for CUDA 12.6"),
        ("525.60.13", "https://download.pytorch.org/whl/cu126", "too old for CUDA 13 (needs 580)"),
        ("470.256.02", "https://download.pytorch.org/whl/cpu", "too old for torch (needs 525)"),
    ],
)
def test_the_build_of_torch_is_picked_by_the_driver(version: str | None, index: str, words: str) -> None:
    found, said = index_for(version)
    assert found == index
    assert words in said


def test_the_script_needs_nothing_installed_and_prints_the_index_alone(machine) -> None:
    machine("535.104.05")
    done = subprocess.run([sys.executable, "-I", SCRIPT], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "https://download.pytorch.org/whl/cu126\n"
    assert done.stderr.startswith("NVIDIA driver 535.104.05 is too old for CUDA 13")


@pytest.mark.parametrize(
    ("version", "built_for", "words"),
    [
        (
            "570.86",
            "13.0",
            "so the CPU is used: install torch 2.13.0 from https://download.pytorch.org/whl/cu126",
        ),
        ("570.86", None, "built without CUDA, so the CPU is used: install torch"),
        ("580.65", None, "install torch 2.13.0 from https://download.pytorch.org/whl/cu130"),
        ("580.65", "13.0", "no GPU is found: see `nvidia-smi`"),
        ("570.86", "12.6", "no GPU is found: see `nvidia-smi`"),
        ("470.1", "13.0", "update the driver to 580 or newer"),
    ],
)
def test_a_gpu_that_torch_does_not_see_is_a_sentence_with_its_remedy(version: str, built_for, words: str) -> None:
    said = unused(version, "2.13.0+cpu" if built_for is None else "2.13.0", built_for)
    assert words in said
    assert said.startswith(f"driver {version} is ")


def test_the_doctor_says_that_a_gpu_is_there_and_not_used(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine("550.54.15")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    device, gpu = doctor._devices()
    assert device["what"] == "device cpu"
    assert (gpu["works"], gpu["needed"]) == (False, True)
    assert "for CUDA 13.0, so the CPU is used: install torch" in gpu["found"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [check["what"] for check in doctor._devices()] == ["device cpu"]
