"""The pages and pictures that are shipped show the studies beside them."""

import json
import re
from pathlib import Path

import pytest

from l2m_design.report.designs import designs
from l2m_design.report.drawn import interactive
from l2m_design.search.adoption.results import load_adoption_summary
from l2m_design.search.results.reading import load_summary

REPOSITORY = Path(__file__).parents[2]
STUDIES = sorted(path for path in (REPOSITORY / "reports").glob("*/study.json") if not load_adoption_summary(path))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_a_shipped_page_has_the_figures_of_its_study(path: Path) -> None:
    page, summary = path.with_name("index.html").read_text(), load_summary(path)
    found = json.loads(re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page)[0])
    made = interactive(summary, designs(summary))
    assert found.keys() == made.keys()
    for name, figure in made.items():
        named = [[trace["meta"].get("name") for trace in each["traces"]] for each in (figure, found[name])]
        assert named[0] == named[1]
    assert f"{summary.study}: l2m-design report" in page
    assert len(page.encode()) < 3e6


def test_the_pictures_of_the_readme_are_of_the_shipped_quickstart() -> None:
    summary = load_summary(REPOSITORY / "reports" / "quickstart")
    readme = (REPOSITORY / "README.md").read_text()
    for name in ("loss", "context"):
        assert f"docs/quickstart-{name}.svg" in readme
        picture = (REPOSITORY / "docs" / f"quickstart-{name}.svg").read_text()
        for design in designs(summary):
            if design.finalist:
                assert design.title in picture
