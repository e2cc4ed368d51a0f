"""The path of accept_gpu.py: a small search, killed and resumed, out of memory, and with two workers on a device.

Both rows on memory train one batch for one step that needs at least twice the memory of the device. Its layers keep
LEAST = 30 bytes per token, layer and unit of width for the gradient, or more (35 counted on a CPU under autocast, by
the test; 45 measured on an H200, with wider MLPs). 16 layers of full attention that are 64 wide keep 30,720 bytes per
token, and TIMES = 2 times the memory over that is the batch: 5.5 M tokens (5,400 windows) on 79 GiB, 9.8 M (9,550
windows) on 140 GiB. As one pass it must run out of memory. With `micro_batch: auto` it is halved twice, or thrice where
other programs hold memory, and completes: 3e13 operations, and about 350 kB per token read and written, take 3 s at
1 TB/s. No tensor of the whole batch has 2**31 elements (9.8 M x 128 are 1.3e9), and windows times heads stay below
65,536, so that nothing but memory can fail.
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from l2m_design.model.acceptance import Check, Found, Skipped

ROOT = Path(__file__).parents[1]
NEEDED = ("optuna", "mlflow")
WAIT = 200  # seconds for one search
ATTENTION = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 16}
SPACE = {
    "depth": 2, "layout": "free", "parameters": 60000, "tolerance": 0.3, "mlp": {"ratio": 1.0},
    "kinds": {"window": ATTENTION | {"window": "$window"}}, "choices": {"window": [16, 32, 64]},
}  # fmt: skip
DEEP = {  # one architecture
    "depth": 16, "layout": "fixed", "pattern": ["attention"], "parameters": 297152, "tolerance": 0.01,
    "mlp": {"ratio": 1.0}, "kinds": {"attention": ATTENTION},
}  # fmt: skip
WIDTH, LENGTH = 64, 1024  # of its layers, and of its windows
LEAST = 30  # bytes per token, layer and unit of width
TIMES = 2  # the device's memory
STUDY = {
    "name": "path", "corpus": "markov:stay=0.9", "space": "space.yaml", "demand": {"beta": 0.7},
    "condition": {"length": 1024}, "recipe": {"length": 64, "tokens": 16384, "batch_tokens": 1024, "windows": 8,
                                                    "kernels": "torch"},
    "search": {"trials": 3, "enforce": [], "known_designs": False, "pruner": "none"},
}  # fmt: skip
REPORT = Path("reports", "path", "study.json")


class Ended(NamedTuple):
    """What became of a search: its exit code, how many trials ended how, and the record of each trial."""

    code: int
    trials: dict[str, int]
    records: list[dict[str, Any]]


def path_checks(device: torch.device) -> list[Check]:
    """Each by `l2m search` in processes of their own."""
    return [
        ("killed and resumed", partial(_needing, _resumed, SPACE, device)),
        ("out of memory", partial(_needing, _out_of_memory, DEEP, device)),
        ("out of memory, halved", partial(_needing, _halved, DEEP, device)),
        ("two workers on one device", partial(_needing, _two, SPACE, device)),
    ]


def _needing(check: Callable[[Path, torch.device], Found], space: dict[str, Any], device: torch.device) -> Found:
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise Skipped(f"{name} is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "space.yaml").write_text(yaml.safe_dump(space))
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
        return check(folder, device)


@contextlib.contextmanager
def _running(folder: Path, device: torch.device, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A search in a process group of its own, which ends with the block."""
    command = [sys.executable, "-m", "l2m_design", "search", "study.yaml", "--set", f"device={device.type}", *words]
    paths = os.pathsep.join(path for path in (str(ROOT), os.environ.get("PYTHONPATH")) if path)
    with subprocess.Popen(
        [*command, "--json"], cwd=folder, env=os.environ | {"PYTHONPATH": paths}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as work:  # fmt: skip
        try:
            yield work
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(work.pid, signal.SIGKILL)


def search(folder: Path, device: torch.device, *words: str) -> Ended:
    """A search that ended within WAIT seconds."""
    with _running(folder, device, *words) as work:
        out, said = work.communicate(timeout=WAIT)
    if not out.strip():
        last = said.strip().splitlines()[-1] if said.strip() else "nothing was said"
        raise RuntimeError(f"the search ended with {work.returncode}: {last}")
    return Ended(work.returncode, json.loads(out)["trials"], json.loads((folder / REPORT).read_text())["records"])


def _found(ended: Ended, works: bool, more: str = "") -> Found:
    words = ", ".join(f"{count} {how}" for how, count in ended.trials.items())
    return Found(f"{words}; exit {ended.code}{more}", {"trials": ended.trials, "exit": ended.code}, works)


def _resumed(folder: Path, device: torch.device) -> Found:
    """Kill a search, its workers too, behind its first trial; go on with it."""
    with _running(folder, device) as work:
        assert work.stderr is not None
        for line in work.stderr:
            if line.startswith("trial ") and "late loss" in line:
                break
    return _complete(search(folder, device, "--resume"))


def _two(folder: Path, device: torch.device) -> Found:
    return _complete(search(folder, device, "--set", "workers=2", "--set", "threads=1"))


def _complete(ended: Ended) -> Found:
    return _found(ended, ended.code == 0 and ended.trials["complete"] == STUDY["search"]["trials"])


def large(memory: int) -> int:
    """Windows of a batch that so many bytes cannot hold as one pass."""
    return -(-TIMES * memory // (LEAST * DEEP["depth"] * WIDTH * LENGTH))


def _large(folder: Path, device: torch.device, whole: bool) -> tuple[Ended, int]:
    """A search for one trial of one such batch, as one pass or as many as are needed; the windows of the batch."""
    if device.type != "cuda":
        raise Skipped("on a CPU the system would end other processes")
    windows = large(torch.cuda.get_device_properties(device).total_memory)
    settings = {
        "search.trials": 1, "recipe.length": LENGTH, "recipe.tokens": windows * LENGTH,
        "recipe.batch_tokens": windows * LENGTH, "recipe.micro_batch": windows if whole else "auto",
    }  # fmt: skip
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return search(folder, device, *words), windows


def _out_of_memory(folder: Path, device: torch.device) -> Found:
    """Every trial is infeasible with that reason, and the search ends without a choice."""
    ended, windows = _large(folder, device, whole=True)
    reasons = {str(record["reason"]) for record in ended.records if record["state"] == "infeasible"}
    named = bool(reasons) and all(reason.startswith("out of memory") for reason in reasons)
    works = named and ended.code == 1 and ended.trials["infeasible"] == sum(ended.trials.values())
    return _found(ended, works, f", {windows:,} windows" + ("" if named else f"; not for want of memory: {reasons}"))


def _halved(folder: Path, device: torch.device) -> Found:
    """The same batch in as many passes as are needed completes."""
    ended, windows = _large(folder, device, whole=False)
    passed = [record["result"]["micro_batch"] for record in ended.records if record["result"]]
    works = ended.code == 0 and ended.trials["complete"] == 1 and all(1 < at_once < windows for at_once in passed)
    return _found(ended, works, f", {passed} of {windows:,} windows at once")
