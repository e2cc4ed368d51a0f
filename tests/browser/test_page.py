"""The report page in a real browser: whole, quiet, readable at any width and by night, and its figures answer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from l2m_design.report.compare import write_comparison
from l2m_design.report.designs import designs
from l2m_design.report.page import write_page
from l2m_design.search.results.values import Summary

HERE = Path(__file__).parent
SECTIONS = ["finalists", "tradeoff", "context", "trials", "map", "supply", "information", "ladder", "choices",
            "profile", "care", "settings"]  # fmt: skip
FIGURES = {"finalists", "gains", "front", "state", "information", "ladder", "choices", "profile"}
HOSTILE = "</script><img src=x onerror=a> %{y} &lt; $\\b$"
FAINT = (HERE / "faint.js").read_text().split("\n", 1)[1]
COLLISIONS = (HERE / "collisions.js").read_text().split("\n", 1)[1]
POINT = (HERE / "point.js").read_text().split("\n", 1)[1]


def until(page: Any, expression: str) -> None:
    """Wait until it holds; the page's own policy forbids playwright's way, which evaluates text in it."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def hovered(page: Any, figure: str, design: str) -> str:
    """What is shown where the pointer stands on a design's point."""
    x, y = page.evaluate(POINT, [figure, design])
    page.mouse.move(x - 40, y - 3)
    page.mouse.move(x, y, steps=4)
    page.wait_for_selector(f'.plot[data-figure="{figure}"] .hoverlayer text', timeout=5_000)
    return str(page.eval_on_selector(f'.plot[data-figure="{figure}"] .hoverlayer', "node => node.textContent"))


def test_the_page_is_whole_and_quiet_and_soon_there(show: Callable[..., Any], shipped_page: Path) -> None:
    shown = show(shipped_page)
    page = shown.page
    assert page.eval_on_selector_all("section", "all => all.map((each) => each.id)") == SECTIONS
    drawn = page.eval_on_selector_all(".plot:has(.main-svg)", "all => all.map((each) => each.dataset.figure)")
    assert set(drawn) == FIGURES
    assert page.locator(".answer .big.strip span").count() == 4
    assert "keeps up, with the smallest state" in page.locator(".answer h2").inner_text()
    for target in page.eval_on_selector_all("nav a", "all => all.map((each) => each.hash)"):
        assert page.locator(target).count() == 1
    assert shown.complaints == []
    buttons = page.eval_on_selector_all(".modebar-btn", "all => [...new Set(all.map((each) => each.dataset.title))]")
    assert buttons == ["Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"]  # none that sends data to a service
    assert [url for url in shown.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    ready = []
    for _ in range(3):
        page.reload()
        times = "[performance.timing.domContentLoadedEventEnd, performance.timing.navigationStart]"
        ready.append(page.evaluate(f"{times}.reduce((end, start) => end - start)"))
    assert min(ready) < 1500


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_runs_off_the_screen_and_no_labels_collide(
    show: Callable[..., Any], shipped_page: Path, width: int
) -> None:
    page = show(shipped_page, width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = "all => all.filter((each) => each.getBoundingClientRect().right > innerWidth + 1).length"
    assert page.eval_on_selector_all(".plot, .scroll, figure, .answer", wide) == 0
    assert page.evaluate(COLLISIONS, ".annotation-text") == []
    assert page.evaluate(COLLISIONS, ".xtick text") == []
    sizes = page.eval_on_selector_all(
        ".plot .xtick text, .plot .ytick text, .plot .annotation-text, .plot .xtitle, .plot .ytitle",
        "all => all.map((each) => parseFloat(getComputedStyle(each).fontSize))",
    )
    assert 12 <= min(sizes) <= max(sizes) <= 13


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_is_readable_by_day_and_by_night(show: Callable[..., Any], shipped_page: Path, dark: bool) -> None:
    page = show(shipped_page, dark=dark).page
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(18, 24, 31)" if dark else "rgb(255, 255, 255)"
    )
    assert page.evaluate(FAINT) == []


def test_pointing_at_a_design_names_it(show: Callable[..., Any], shipped: Summary, shipped_page: Path) -> None:
    page = show(shipped_page).page
    for design in designs(shipped):
        if design.finalist:
            said = hovered(page, "finalists", design.key)
            assert design.label in said
            assert f"layers {design.architecture.picture}" in said


def test_a_click_shows_a_design_alone_and_escape_ends_it(
    show: Callable[..., Any], shipped: Summary, shipped_page: Path
) -> None:
    page = show(shipped_page).page
    chosen = designs(shipped)[0]
    hovered(page, "finalists", chosen.key)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector("#alone:not([hidden])")
    assert chosen.title in page.locator("#alone").inner_text()
    card = page.locator("#figure-finalists .card").inner_text()
    assert chosen.label in card
    assert "&" not in card
    until(page, "document.querySelector('[data-figure=gains]')._fullData.some((each) => each.opacity < 1)")
    lit = "plot => plot._fullData.filter((each) => each.opacity === 1).map((each) => each.meta.design)"
    assert page.eval_on_selector("[data-figure=gains]", lit) == [chosen.key]
    assert page.locator("tr.focus").count() == 3
    page.keyboard.press("Escape")
    until(page, "document.querySelector('[data-figure=gains]')._fullData.every((each) => each.opacity === 1)")


def test_the_key_hides_and_shows_a_line(show: Callable[..., Any], shipped_page: Path) -> None:
    page = show(shipped_page).page
    button = page.locator("#figure-gains .key button").first
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    visible = "plot => plot._fullData.filter((each) => each.visible === true).length"
    assert (
        page.eval_on_selector("[data-figure=gains]", visible) == page.locator("#figure-gains .key button").count() - 1
    )
    page.locator("#figure-gains .key button").first.click()
    assert page.eval_on_selector("[data-figure=gains]", visible) == page.locator("#figure-gains .key button").count()


def test_hostile_names_are_text(show: Callable[..., Any], shipped: Summary, tmp_path: Path) -> None:
    records = [replace(r, design=HOSTILE) if r.number == 2 else r for r in shipped.records]
    baselines = [replace(r, design=HOSTILE) if r.trial == 2 else r for r in shipped.baselines]
    finalists = [replace(r, name=HOSTILE) if r.name == "all windows" else r for r in shipped.finalists]
    hostile = replace(
        shipped, study=HOSTILE, records=records, baselines=baselines, finalists=finalists, notes=[HOSTILE]
    )
    write_page(hostile, tmp_path / "index.html")
    shown = show(tmp_path / "index.html")
    page = shown.page
    assert shown.complaints == []
    assert page.title() == f"{HOSTILE}: l2m-design report"
    assert page.locator("img, [onerror]").count() == 0
    assert page.locator(".key button", has_text=HOSTILE).count() >= 3
    key = shipped.finalists[1].fingerprint
    assert HOSTILE in hovered(page, "finalists", key)
    labels = page.eval_on_selector_all(
        "[data-figure=finalists] .annotation-text", "all => all.map((e) => e.textContent)"
    )
    assert HOSTILE in labels
    page.locator("#map tr", has_text=HOSTILE).first.click()
    assert page.locator("#alone").inner_text() == f"Shown alone: {HOSTILE} · show all"


def test_paper_shows_the_static_figures(show: Callable[..., Any], shipped_page: Path) -> None:
    page = show(shipped_page).page
    page.emulate_media(media="print")
    assert page.locator(".plot").first.is_hidden()
    assert page.locator(".static svg").first.is_visible()
    assert page.locator("nav").is_hidden()


def test_without_scripts_the_static_figures_are_there(show: Callable[..., Any], shipped_page: Path) -> None:
    page = show(shipped_page, 390, script=False).page
    assert page.locator(".static svg").count() == len(FIGURES)
    assert page.locator(".static svg").first.is_visible()


def test_a_page_of_300_trials_is_small_and_drawn(show: Callable[..., Any], shipped: Summary, tmp_path: Path) -> None:
    own = [r for r in shipped.records if r.design is None]
    more = [replace(own[n % len(own)], number=100 + n, fingerprint=str(n)) for n in range(300 - len(shipped.records))]
    write_page(replace(shipped, records=[*shipped.records, *more]), tmp_path / "index.html")
    assert (tmp_path / "index.html").stat().st_size < 3e6
    show(tmp_path / "index.html")


@pytest.mark.parametrize("width", [390, 1280])
def test_two_studies_are_compared_on_a_quiet_page(
    show: Callable[..., Any], shipped: Summary, tmp_path: Path, width: int
) -> None:
    write_comparison(shipped, replace(shipped, study="other"), tmp_path / "compared.html")
    shown = show(tmp_path / "compared.html", width, dark=True)
    assert shown.complaints == []
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.page.evaluate(FAINT) == []
    assert shown.page.locator("#figure-front .key button").all_inner_texts() == ["text-hybrids", "other"]
    shown.page.emulate_media(media="print")
    assert shown.page.locator(".plot").is_hidden()
    assert shown.page.locator(".static svg").is_visible()
