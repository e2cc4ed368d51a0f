"""The path of accept_gpu.py: a small search, killed and resumed, out of memory, and with two workers on a device."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import yaml

from l2m_design.model.acceptance import Check, Found, Skipped

ROOT = Path(__file__).parents[1]
NEEDED = ("optuna", "mlflow")
WAIT = 200  # seconds for one search
ATTENTION = {"kind": "attention", "heads": 2, "kv_heads": 1, "head_dim": 16, "window": "$window"}
SPACE = {
    "depth": 2, "layout": "free", "parameters": 60000, "tolerance": 0.3, "mlp": {"ratio": 1.0},
    "kinds": {"window": ATTENTION}, "choices": {"window": [16, 32, 64]},
}  # fmt: skip
STUDY = {
    "name": "path", "corpus": "markov:stay=0.9", "space": "space.yaml", "demand": {"beta": 0.7},
    "condition": {"length": 1024}, "recipe": {"length": 64, "tokens": 16384, "batch_tokens": 1024, "windows": 8,
                                                    "kernels": "torch"},
    "search": {"trials": 3, "enforce": [], "known_designs": False, "pruner": "none"},
}  # fmt: skip


def path_checks(device: torch.device) -> list[Check]:
    """Each by `l2m search` in processes of their own."""
    return [
        ("killed and resumed", partial(_needing, _resumed, device)),
        ("two workers on one device", partial(_needing, _two, device)),
        ("out of memory", partial(_needing, _short_of_memory, device)),
    ]


def _needing(check: Callable[[Path, torch.device], Found], device: torch.device) -> Found:
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise Skipped(f"{name} is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
        return check(folder, device)


def _search(folder: Path, device: torch.device, *words: str) -> subprocess.Popen[str]:
    """A running search, in a process group of its own."""
    command = [sys.executable, "-m", "l2m_design", "search", "study.yaml", "--set", f"device={device.type}", *words]
    paths = os.pathsep.join(path for path in (str(ROOT), os.environ.get("PYTHONPATH")) if path)
    return subprocess.Popen(
        [*command, "--json"], cwd=folder, env=os.environ | {"PYTHONPATH": paths}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _ended(work: subprocess.Popen[str]) -> tuple[int, dict[str, int], str]:
    """Exit code, how many trials ended how, what was said; a search that does not end is killed."""
    try:
        out, said = work.communicate(timeout=WAIT)
    except BaseException:
        os.killpg(work.pid, signal.SIGKILL)
        raise
    last = said.strip().splitlines()[-1] if said.strip() else "nothing was said"
    if not out.strip():
        raise RuntimeError(f"the search ended with {work.returncode}: {last}")
    return work.returncode, json.loads(out)["trials"], said


def _found(code: int, trials: dict[str, int], works: bool, more: str = "") -> Found:
    words = ", ".join(f"{count} {how}" for how, count in trials.items())
    return Found(f"{words}; exit {code}{more}", {"trials": trials, "exit": code}, works)


def _resumed(folder: Path, device: torch.device) -> Found:
    """Kill a search, its workers too, behind its first trial; go on with it."""
    work = _search(folder, device)
    assert work.stderr is not None
    for line in work.stderr:
        if line.startswith("trial ") and "late loss" in line:
            break
    os.killpg(work.pid, signal.SIGKILL)
    work.communicate()
    code, trials, _ = _ended(_search(folder, device, "--resume"))
    return _found(code, trials, code == 0 and trials["complete"] == STUDY["search"]["trials"])


def _two(folder: Path, device: torch.device) -> Found:
    code, trials, _ = _ended(_search(folder, device, "--set", "workers=2", "--set", "threads=1"))
    return _found(code, trials, code == 0 and trials["complete"] == STUDY["search"]["trials"])


def _short_of_memory(folder: Path, device: torch.device) -> Found:
    """A batch that no card holds: every trial fails or is rejected with that reason, and the search ends."""
    if device.type != "cuda":
        raise Skipped("on a CPU the system would end other processes")
    tokens = 2**26
    code, trials, said = _ended(
        _search(folder, device, "--set", f"recipe.tokens={tokens}", "--set", f"recipe.batch_tokens={tokens}")
    )
    reason = "memory" in said
    works = code in (0, 1) and trials["complete"] == 0 and reason
    return _found(code, trials, works, "" if reason else "; memory is not named as the reason")
