"""The command line as its users start it: in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def l2m(*words: object, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `l2m WORDS` in a folder; what it printed and its exit code."""
    command = [sys.executable, "-m", "l2m_design", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)


def start(*words: object, cwd: Path) -> "subprocess.Popen[str]":
    """The same in a process group of its own, not waited for."""
    command = [sys.executable, "-m", "l2m_design", *map(str, words)]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
