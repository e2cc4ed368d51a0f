"""The NVIDIA driver of this machine and the build of torch that runs on it.

Run as a file (`python l2m_design/nvidia.py`, before anything is installed) it prints the package index that offers
this build, or nothing where PyPI's will do, and says on stderr what it chose. torch 2.13 is built for CUDA 13 on PyPI
and for CUDA 12.6 on an index of its own (https://github.com/pytorch/pytorch/blob/main/RELEASE.md).
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

CUDA_13, CUDA_12 = 580, 525  # the oldest drivers that run programs built for CUDA 13 and 12 (NVIDIA's release notes)
INDEX = "https://download.pytorch.org/whl/"
KERNEL_MODULE = Path("/proc/driver/nvidia/version")


def driver() -> str | None:
    """The NVIDIA driver's version, by nvidia-smi or else by the kernel module; none where neither can say."""
    found = re.search(r"Driver Version\s*:\s*(\d[\d.]*)", _asked())
    if found is None and KERNEL_MODULE.is_file():
        found = re.search(r"Kernel Module(?: for \S+)?\s+(\d[\d.]*)", KERNEL_MODULE.read_text())
    return found[1] if found else None


def _asked() -> str:
    """What nvidia-smi says; nothing where it is not there or fails."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        return subprocess.run(["nvidia-smi", "-q"], capture_output=True, text=True, check=True, timeout=20).stdout
    except (subprocess.SubprocessError, OSError):
        return ""


def index_for(version: str | None) -> tuple[str, str]:
    """The index to install torch from, empty for PyPI, and why in a sentence, empty where there is no driver."""
    if version is None:
        return "", ""
    major = int(version.split(".")[0])
    if major >= CUDA_13:
        return "", f"NVIDIA driver {version}: installing torch built for CUDA 13, as on PyPI"
    if major >= CUDA_12:
        chosen = (
            f"NVIDIA driver {version} is too old for CUDA 13 (needs {CUDA_13}): installing torch built for CUDA 12.6"
        )
        return f"{INDEX}cu126", f"{chosen}, from {INDEX}cu126"
    old = f"NVIDIA driver {version} is too old for torch (needs {CUDA_12}): installing torch for the CPU"
    return f"{INDEX}cpu", f"{old}; update the driver to use the GPU"


def unused(version: str, torch_version: str, built_for: str | None) -> str:
    """A sentence on why torch does not see the GPU of a machine with this driver, and what would help.

    built_for: the CUDA version of torch, none of a build for CPUs.
    """
    major = int(version.split(".")[0])
    build = f"torch {torch_version} is built " + (f"for CUDA {built_for}" if built_for else "without CUDA")
    index = index_for(version)[0] or f"{INDEX}cu130"
    if major < CUDA_12:
        return f"driver {version} is too old for torch, so the CPU is used: update the driver to {CUDA_13} or newer"
    needed = CUDA_13 if built_for and built_for.startswith("13") else CUDA_12
    if built_for and major >= needed:
        return (
            f"driver {version} is installed and {build}, but no GPU is found: see `nvidia-smi` and CUDA_VISIBLE_DEVICES"
        )
    remedy = f"install torch {torch_version.split('+')[0]} from {index} (pip's index-url)"
    return f"driver {version} is installed, but {build}, so the CPU is used: {remedy}"


if __name__ == "__main__":
    where, note = index_for(driver())
    print(where)
    if note:
        print(note, file=sys.stderr)
