"""Two studies on one page: whose losses can be held against each other, and in what they were set differently."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from l2m_design.report.compare import outcome, reasons, set_differently, write_comparison, write_figures
from l2m_design.report.figures.style import INK, STYLE, figure, name_points
from l2m_design.search.results.reading import load_summary
from l2m_design.search.results.values import Summary
from tests.command import l2m

REPORTS = Path(__file__).parents[2] / "reports"


def test_losses_are_compared_only_where_corpus_window_and_budget_are_the_same(summary: Summary) -> None:
    assert reasons(summary, summary) == []
    assert "Their losses are not paired" in outcome(summary, summary)[-1]
    other = replace(
        summary,
        study="other",
        corpus=replace(summary.corpus, name="prose", fingerprint="g"),
        choice=replace(summary.choice, length=128, recipe=summary.choice.recipe.model_copy(update={"tokens": 2048})),
    )
    assert reasons(summary, other) == [
        "the corpora differ (corpus, prose)",
        "the windows differ (64 and 128 tokens)",
        "the training tokens differ (1,024 and 2,048)",
    ]
    said = outcome(summary, other)
    assert said[0].startswith("test: Trial 2 keeps up, with the smallest state: A, 3 KiB of state at 4,096 tokens")
    assert said[-1].startswith("Losses of the two studies cannot be compared: the corpora differ")


def test_what_was_set_differently_is_listed_by_key(summary: Summary) -> None:
    assert set_differently(summary, summary) == []
    recipe = summary.settings.recipe.model_copy(update={"tokens": 2048})
    other = replace(summary, settings=summary.settings.model_copy(update={"recipe": recipe}))
    assert set_differently(summary, other) == [("recipe.tokens", "1024", "2048")]


def test_two_studies_of_one_name_are_told_apart_and_names_are_text(summary: Summary, tmp_path: Path) -> None:
    hostile = replace(summary, study="<b>")
    write_comparison(hostile, hostile, tmp_path / "compared.html")
    text = (tmp_path / "compared.html").read_text()
    assert "<h1>&lt;b&gt; (1) and &lt;b&gt; (2) compared</h1>" in text
    assert "<b> (1)" not in text
    assert "The chosen state of &lt;b&gt; (2) is 1 times that of &lt;b&gt; (1)." in text


def test_the_figure_for_paper_names_the_designs_of_both_studies(tmp_path: Path) -> None:
    pair = [load_summary(REPORTS / name) for name in ("quickstart", "text-hybrids")]
    write_comparison(*pair, tmp_path / "compared.html")
    static = (tmp_path / "compared.html").read_text().split('<div class="static">', 1)[1].split("</svg>", 1)[0]
    for name in ("quickstart", "text-hybrids", "trial 14", "trial 47", "all windows"):
        assert f">{name}</text>" in static
    (file,) = write_figures(*pair, tmp_path / "figures")
    assert file.read_text().count(">all attention</text>") == 2


def test_names_stand_beside_their_points_and_not_on_each_other() -> None:
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure()
        axes.plot([1, 1.02, 3], [1, 1, 1], "o")
        name_points(axes, [("a name", 1.0, 1.0, 1.0, INK), ("another", 1.02, 1.0, 1.0, INK), ("far", 3.0, 1, 1, INK)])
        drawing.draw_without_rendering()
        boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert not any(one.overlaps(two) for one, two in combinations(boxes, 2))
    assert max(abs(text.xyann[1]) for text in axes.texts) == 10


def test_a_name_stands_aside_of_the_bar_of_its_neighbour() -> None:
    with matplotlib.rc_context(STYLE):
        _, axes = figure()
        places = [("a name", 1.0, 0.9, 1.1, INK), ("another", 1.1, 0.2, 1.9, INK), ("far", 3.0, 1.0, 1.0, INK)]
        axes.errorbar([1, 1.1, 3], [1, 1.05, 1], yerr=[0.1, 0.85, 0])
        name_points(axes, places)
        bars = [Bbox(axes.transData.transform([(x, low), (x, high)])) for _, x, low, high, _ in places]
        boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == ["a name", "another", "far"]
    assert not any(box.overlaps(bar) for box in boxes for bar in bars)


def test_the_command_compares_shipped_studies(tmp_path: Path) -> None:
    pair = (REPORTS / "quickstart", REPORTS / "text-hybrids")
    said = json.loads(l2m("report", "--compare", *pair, "--figures", "figures", "--json", cwd=tmp_path).stdout)
    assert said["study"] == "quickstart, text-hybrids"
    assert said["outcome"] == outcome(*(load_summary(path) for path in pair))
    assert (tmp_path / "compared.html").stat().st_size < 3e6
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["front.svg"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("x", "--compare", "a", "b"), "--compare: takes two studies; remove x"),
        (("--compare", "a", "b"), "a"),
        (("--compare", "a", "./a"), "--compare a: is given twice; give two studies"),
    ],
)
def test_what_cannot_be_compared_is_one_line(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    refused = l2m("report", *words, cwd=tmp_path)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith(f"l2m: {said}")
