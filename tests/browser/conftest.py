"""A real browser: Debian's chromium, driven by playwright; without either, these tests skip themselves."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l2m_design.report.page import write_page
from l2m_design.search.results.reading import load_summary
from l2m_design.search.results.values import Summary

REPORTS = Path(__file__).parents[2] / "reports"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The browser of the session."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with driver.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def shipped() -> Summary:
    """A study of 64 trials with finalists, rungs and a measured requirement."""
    return load_summary(REPORTS / "text-hybrids")


@pytest.fixture(scope="session")
def shipped_page(shipped: Summary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    write_page(shipped, path)
    return path


class Shown:
    """A page in the browser, all figures drawn; what it complained of and asked for."""

    def __init__(self, page: Any, path: Path, script: bool) -> None:
        self.page, self.complaints, self.requests = page, [], []
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        if script:
            page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Shown]]:
    """Open a page: width in pixels; dark, with a script or without."""
    contexts = []

    def opened(path: Path, width: int = 1280, dark: bool = False, script: bool = True) -> Shown:
        contexts.append(
            browser.new_context(
                viewport={"width": width, "height": 900},
                color_scheme="dark" if dark else "light",
                java_script_enabled=script,
            )
        )
        return Shown(contexts[-1].new_page(), path, script)

    yield opened
    for context in contexts:
        context.close()
