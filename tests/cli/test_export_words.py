"""`l2m export`: words that cannot be used are refused in one line before anything is made; Ctrl-C is told too."""

import subprocess
import sys
from pathlib import Path

import pytest

from l2m_design.cli.export import TARGETS
from l2m_design.export.targets import NAMES
from l2m_design.library import export
from tests.command import l2m

DRAWING = "vocabulary: 50\nwidth: 16\nlayers: [{kind: attention, heads: 2, kv_heads: 1, head_dim: 8}]\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "yaml", "--scale", ""], "--scale: found ''"),
        (["--to", "llama", "--seed", "9" * 20], "--seed"),
        (["--to", "llama", "--seed", "-1"], "--seed"),
        (["--to", "smollm2"], "--to: found 'smollm2', allowed: card, yaml, json, huggingface, llama, "),
        (["--to", "llama", "--scale", "90b"], "of memory, "),
    ],
)
def test_words_that_cannot_be_used(words: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "drawing.yaml").write_text(DRAWING)
    done = l2m("export", "drawing.yaml", *words, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_targets_named_are_those_there_are() -> None:
    assert export.TARGETS == NAMES
    assert TARGETS.split(", ") == list(NAMES)


def test_an_interrupt_is_told_in_one_line(tmp_path: Path) -> None:
    program = """
import sys
from l2m_design.architecture import Architecture
from l2m_design.cli import main
def interrupted(*words):
    raise KeyboardInterrupt
Architecture.load = interrupted
sys.argv = ["l2m", "export", "drawing.yaml"]
main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "l2m: interrupted\n")
