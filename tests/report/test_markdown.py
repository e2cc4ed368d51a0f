"""The description of a study's run: the answer first, then a table, as Markdown."""

from dataclasses import replace
from pathlib import Path

import pytest

from l2m_design.report import words
from l2m_design.report.markdown import of_study
from l2m_design.search.results.reading import load_summary
from l2m_design.search.results.values import Summary

QUICKSTART = Path(__file__).parents[2] / "reports" / "quickstart"


@pytest.fixture(scope="module")
def summary() -> Summary:
    return load_summary(QUICKSTART)


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_the_answer_comes_first_and_every_finalist_has_a_line(summary: Summary) -> None:
    text = of_study(summary)
    assert text.startswith(("Chosen: ", "These losses "))
    assert all(sentence in text for sentence in words.outcome(summary))
    titles, _, *lines = rows(text)
    assert [line[1] for line in lines] == [f"`{row.picture}`" for row in summary.finalists]
    assert {len(line) for line in lines} == {len(titles)}
    assert sum("(chosen)" in line[0] for line in lines) == 1


def test_without_finalists_the_front_is_listed_and_notes_follow(summary: Summary) -> None:
    text = of_study(replace(summary, finalists=[], notes=["beware of | bars"]))
    assert len(rows(text)) == 2 + len(summary.front)
    assert "- beware of | bars" in text
