"""The examples in docstrings run, of public and internal names alike."""

import doctest
import importlib

import pytest

from tests.fences import REPOSITORY

ROOT = REPOSITORY / "l2m_design"
MODULES = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("module", MODULES)
def test_every_example_of_a_module_gives_what_it_shows(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted
    assert not found.failed
