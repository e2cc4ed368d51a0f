"""The page of a study with `start` in a real browser: its figures answer, at any width, by night and on paper."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2m_design.report.adoption import write_adoption
from l2m_design.search.adoption.results import AdoptionSummary
from tests.browser.test_page import COLLISIONS, FAINT, hovered, until
from tests.report.adopted import many

LIT = "plot._fullData.filter((each) => each.visible === true && each.opacity === 1).map((each) => each.meta.design)"
MAP = "document.querySelector('[data-figure=map]')"
FRAMED = f"{MAP}._fullData.filter((each) => each.visible === true && each.meta.design)"


@pytest.fixture(scope="module")
def found() -> AdoptionSummary:
    """Thirty layers, three budgets, plans of all kinds."""
    return many()


@pytest.fixture(scope="module")
def path(found: AdoptionSummary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adoption") / "index.html"
    write_adoption(found, path)
    return path


def test_the_page_is_quiet_small_and_asks_for_nothing(show: Callable[..., Any], path: Path) -> None:
    shown = show(path)
    drawn = shown.page.eval_on_selector_all(".plot:has(.main-svg)", "all => all.map((each) => each.dataset.figure)")
    assert drawn == ["front", "map", "check"]
    assert shown.complaints == []
    assert [url for url in shown.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert path.stat().st_size < 3e6


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("heads", [1, 3])
def test_nothing_runs_off_the_screen_collides_or_is_faint(
    show: Callable[..., Any], tmp_path: Path, heads: int, width: int, dark: bool
) -> None:
    write_adoption(many(30 // heads, heads), tmp_path / "index.html")
    page = show(tmp_path / "index.html", width, dark=dark).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for texts in (".annotation-text", ".xtick text", ".ytick text", ".bartext", ".cbaxis text"):
        if texts != ".xtick text" or width > 390:  # names of caches stand aslant there
            assert page.evaluate(COLLISIONS, texts) == []
    assert page.evaluate(FAINT) == []


def test_pointing_at_a_plan_or_a_cell_says_what_it_is(
    show: Callable[..., Any], found: AdoptionSummary, path: Path
) -> None:
    page = show(path).page
    best = found.budgets[1].best
    said = hovered(page, "front", best.key)
    assert "budget B: solved, trial 7" in said
    assert "loses +0.050 [+0.025, +0.080] nats per token" in said
    cell = page.locator("[data-figure=map] .bars path").nth(4)
    cell.scroll_into_view_if_needed()
    box = cell.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2, steps=4)
    shown = "document.querySelector('[data-figure=map] .hoverlayer').textContent"  # of cells on the way, for a while
    until(page, f"{shown}.includes('layer 0: none')")


def test_a_click_shows_a_plan_alone_in_the_map_too_and_escape_ends_it(
    show: Callable[..., Any], found: AdoptionSummary, path: Path
) -> None:
    page, best = show(path).page, found.budgets[1].best
    hovered(page, "front", best.key)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector("#alone:not([hidden])")
    assert page.locator("#alone").inner_text() == "Shown alone: B: solved, trial 7 · show all"
    assert "budget B: solved, trial 7" in page.locator("#figure-front .card").inner_text()
    until(page, "document.querySelector('[data-figure=front]')._fullData.some((each) => each.opacity < 1)")
    assert page.eval_on_selector("[data-figure=front]", f"plot => {LIT}") == [best.key]
    until(page, f"{FRAMED}.map((each) => each.meta.design).join() === {best.key!r}")
    assert page.locator("tr.focus").count() == 1
    page.keyboard.press("Escape")
    until(page, f"{FRAMED}.length === 0")


def test_the_key_names_each_kind_once_and_hides_all_its_plans(
    show: Callable[..., Any], found: AdoptionSummary, path: Path
) -> None:
    page = show(path).page
    kinds = page.locator("#figure-front .key button").all_inner_texts()
    assert len(kinds) == len(set(kinds)) == 8
    page.locator("#figure-front .key button", has_text="random plan").click()
    hidden = "plot => plot._fullData.filter((each) => each.visible !== true).map((each) => each.meta.name)"
    assert page.eval_on_selector("[data-figure=front]", hidden) == ["random plan"] * 6


def test_on_paper_and_without_scripts_the_static_figures_are_there(show: Callable[..., Any], path: Path) -> None:
    page = show(path, 390, script=False).page
    assert page.locator(".static svg").count() == 3
    assert page.locator(".static svg").first.is_visible()
    page = show(path).page
    page.emulate_media(media="print")
    assert page.locator(".plot").first.is_hidden()
    assert page.locator(".static svg").first.is_visible()
