"""What the library says of its settings is printed as options of the command line."""

from pathlib import Path

import pytest

import l2m_design as l2m
from l2m_design.cli import expand_home
from l2m_design.cli.terminal import OPTIONS, with_options


def test_settings_are_printed_as_options_and_nothing_else_is() -> None:
    said = (
        "give a smaller `prime`, or `bytes_per_token`; `overrides` a=1, `parameters` 5; `l2m check --json`, `unknown`"
    )
    printed = "give a smaller --prime, or --bytes-per-token; --set a=1, --scale 5; `l2m check --json`, `unknown`"
    assert with_options(said) == printed


def test_every_option_is_known() -> None:
    assert {"prime", "kv_dtype", "out", "processes"} <= OPTIONS.keys()


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("~/texts/*.txt", "/home/me/texts/*.txt"),
        ("--out=~/made", "--out=/home/me/made"),
        ("corpus=~/books:field=body", "corpus=/home/me/books:field=body"),
        ("~", "/home/me"),
        ("books~/a", "books~/a"),
        ("a b=~/c", "a b=~/c"),
        ("--json", "--json"),
    ],
)
def test_a_home_is_expanded_where_no_shell_did(word: str, expanded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home(word) == expanded


def test_the_library_expands_it_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert l2m.check("~/growing.yaml", 0.5).data["meets"]
    assert l2m.export("~/growing.yaml", "yaml", "~/made")["files"] == [str(folder / "made" / "architecture.yaml")]
    assert (folder / "made" / "architecture.yaml").exists()
