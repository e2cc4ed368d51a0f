"""Words: the library names settings, and only the command line names its options."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "l2m_design"
SPEAKS_OF_OPTIONS = (  # the command line; what shows commands to its users; those that are not yet reworded
    "cli/",
    "report/",
    "search/",
    "library/search.py",
    "calibration/eta.py",
    "export/card.py",
    "information/compression.py",
)
FILES = sorted(
    path for path in ROOT.rglob("*.py") if not path.relative_to(ROOT).as_posix().startswith(SPEAKS_OF_OPTIONS)
)
OF_OTHERS = ("--kv-unified", "--swa-full")  # llama.cpp's


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_messages_of_the_library_name_settings_and_no_options(path: Path) -> None:
    """Whole commands in backquotes may be shown."""
    tree = ast.parse(path.read_text())
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            text = re.sub("`[^`]*`", "", node.value)
            assert not set(re.findall(r"--[a-z][a-z-]+", text)) - set(OF_OTHERS), text
