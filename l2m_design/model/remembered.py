"""The cache of probes: what a candidate did on a GPU under one set of versions, so that later processes probe nothing.

A JSON file beside the token cache. A file that cannot be read is ignored and written anew; one that cannot be written
leaves every process to probe for itself.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from l2m_design.corpus.tokens import cache_folder
from l2m_design.model.candidates import Candidate
from l2m_design.model.probing import Probe, dtype_name
from l2m_design.nvidia import driver

DISTRIBUTIONS = {"fla": "fla-core", "mamba_ssm": "mamba-ssm"}
CODE = ("candidates.py", "flex.py", "probing.py", "probed_sizes.py", "kernels.py")  # a change makes all probes anew
PASSING = ("out of memory", "busy")  # reasons of a moment, not of the device


def cache_file() -> Path:
    """Where probes are cached."""
    return cache_folder() / "probes.json"


def place(device: torch.device) -> str:
    """The GPU's name, or what else the device is: probes hold for all that are alike."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def remembered(candidate: Candidate, device: torch.device) -> Probe | None:
    """The probe that an earlier process made of the candidate on such a device."""
    found = _read().get(_key(candidate, device))
    try:
        return Probe(**found) if isinstance(found, dict) else None
    except TypeError:  # of another version
        return None


def remember(candidate: Candidate, device: torch.device, probe: Probe) -> None:
    """Keep a probe for later processes, unless it was not tried or failed for a reason of the moment."""
    if device.type != "cuda" or not probe.found or any(words in probe.reason for words in PASSING):
        return
    file = cache_file()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = _read() | {_key(candidate, device): probe.plain()}
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as part:
            json.dump(kept, part, indent=1)
        os.replace(part.name, file)


def _read() -> dict[str, object]:
    try:
        kept = json.loads(cache_file().read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _key(candidate: Candidate, device: torch.device) -> str:
    """Device, driver and versions, the candidate, and the code that calls and measures it."""
    name = place(device)
    of = (_version("triton"), _version(DISTRIBUTIONS.get(candidate.library, candidate.library)))
    here = (name, _driver(), torch.__version__, *of, _code())
    return ", ".join((*here, candidate.name, candidate.field, dtype_name(candidate), *map(str, candidate.sizes)))


def _version(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return f"no {distribution}"


@lru_cache(maxsize=1)
def _driver() -> str:
    return f"driver {driver() or 'unknown'}"


@lru_cache(maxsize=1)
def _code() -> str:
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in CODE)
    return hashlib.sha256(code).hexdigest()[:12]
