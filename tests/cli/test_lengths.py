"""`l2m check --lengths`: what each length asks, what is held there, and the series of a fixed state."""

import json
from functools import partial
from pathlib import Path

import pytest

from l2m_design.errors import BadInput
from l2m_design.library.lengths import parse_lengths
from tests.command import l2m

FIXED = """
vocabulary: 90
width: 32
layers:
  - {kind: mamba2, d_state: 16, head_dim: 16}
  - {kind: mamba2, d_state: 16, head_dim: 16}
"""


check = partial(l2m, "check")


def test_lengths_are_sorted_and_each_is_taken_once() -> None:
    assert parse_lengths("1M,4k, 32K,4096,5") == [5, 4096, 32768, 1048576]


@pytest.mark.parametrize("text", ["", "x", "4k,", "-4", "1.5k", "4kk", "3", "32M", "99999999999999", "1e3", "4k;8k"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="`lengths`: found"):
        parse_lengths(text)


def test_the_target_length_is_written_as_the_others(tmp_path: Path) -> None:
    (tmp_path / "fixed.yaml").write_text(FIXED)
    plain, short = (
        json.loads(check("fixed.yaml", "--length", text, "--json", cwd=tmp_path).stdout) for text in ("131072", "128k")
    )
    assert plain == short
    assert short["length"] == 131072
    done = check("fixed.yaml", "--length", "128q", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["l2m: --length: found '128q'; must be a length such as 4096, 32k or 1M"]


def test_each_length_has_a_row_with_the_member_of_its_series(tmp_path: Path) -> None:
    (tmp_path / "fixed.yaml").write_text(FIXED)
    words = ("fixed.yaml", "--lengths", "64k,4k", "--nats-per-element", "0.5")
    rows = json.loads(check(*words, "--json", cwd=tmp_path).stdout)["by_length"]
    assert [row["length"] for row in rows] == [4096, 65536]
    assert rows[0]["member"]["d_state"] < rows[1]["member"]["d_state"]
    sized = check("fixed.yaml", "--set", f"layers=[{{kind: mamba2, d_state: {rows[1]['member']['d_state']}, head_dim: "
                  "16}, {kind: mamba2, d_state: %d, head_dim: 16}]" % rows[1]["member"]["d_state"],
                  "--length", "65536", "--nats-per-element", "0.5", "--json", cwd=tmp_path)  # fmt: skip
    assert json.loads(sized.stdout)["meets_level"] is True

    said = check(*words, cwd=tmp_path).stdout
    assert "every length needs a larger model" in said
    assert "65,536" in said


def test_bad_lengths_are_one_line_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "fixed.yaml").write_text(FIXED)
    done = check("fixed.yaml", "--lengths", "4k,-1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == ["l2m: --lengths: found '-1'; must be lengths such as 4096, 32k or 1M"]
