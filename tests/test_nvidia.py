"""The driver of a machine decides which build of torch is installed, and a GPU that torch does not see is named."""

import json
import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from l2m_design import nvidia
from l2m_design.cli import doctor
from l2m_design.errors import Notice
from l2m_design.model import backends
from l2m_design.model.backends import pick_device
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


@pytest.fixture
def new_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose torch is built for CUDA 13 and finds no GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    backends._tell_of_unused_gpu.cache_clear()


def told(name: str = "auto") -> list[str]:
    """The notices of choosing a device, which is the CPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert pick_device(name).type == "cpu"
    assert all(issubclass(warning.category, Notice) for warning in caught)
    return [str(warning.message) for warning in caught]


def test_auto_names_a_gpu_that_torch_cannot_use_once_a_process(machine, new_torch: None) -> None:
    machine("550.54.15")
    assert told("cpu") == []
    (notice,) = told()
    assert notice.startswith("device auto: driver 550.54.15 is installed, but torch")
    assert "so the CPU is used: install torch" in notice
    assert told() == []


@pytest.mark.parametrize(("given", "hidden"), [({}, None), ({"by_smi": "550.54.15"}, "")])
def test_without_a_driver_or_with_hidden_gpus_nothing_is_said_and_no_program_started(
    machine, new_torch: None, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], hidden: str | None
) -> None:
    machine(**given)
    monkeypatch.setattr(nvidia.subprocess, "run", lambda *words, **options: pytest.fail("a program was started"))
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert told() == []


@pytest.mark.integration
def test_a_search_names_it_in_one_line_beside_clean_json_and_its_trials_do_not(machine, tmp_path: Path) -> None:
    """The driver is too old for any torch, so that the sentence is the same for the torch of these tests."""
    machine("470.1")
    attention = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 16}
    space = {"depth": 1, "parameters": 30000, "tolerance": 0.3, "kinds": {"attention": attention}}
    study = {"name": "tiny", "corpus": "markov:stay=0.9", "space": "space.yaml", "demand": {"beta": 0.7},
             "condition": {"length": 1024}, "recipe": {"length": 64, "tokens": 512, "batch_tokens": 512, "windows": 8},
             "search": {"trials": 1, "enforce": [], "known_designs": False}}  # fmt: skip
    (tmp_path / "space.yaml").write_text(json.dumps(space))
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    environment["PYTHONPATH"] = str(Path(nvidia.__file__).parents[1])
    command = [sys.executable, "-m", "l2m_design", "search", "study.yaml", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    assert json.loads(done.stdout)["trials"]["complete"] == 1
    said = [line for line in done.stderr.splitlines() if "470.1" in line]
    assert said == [f"l2m: device auto: {unused('470.1', torch.__version__, torch.version.cuda)}"]


def test_the_doctor_says_that_a_gpu_is_there_and_not_used(
    machine, new_torch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("550.54.15")
    device, gpu = doctor._devices()
    assert device["what"] == "device cpu"
    assert (gpu["works"], gpu["needed"]) == (False, True)
    assert "for CUDA 13.0, so the CPU is used: install torch" in gpu["found"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [check["what"] for check in doctor._devices()] == ["device cpu"]
