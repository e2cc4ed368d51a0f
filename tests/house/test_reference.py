"""The generated reference: every option and key is there, with its meaning; the site's pages and navigation agree."""

import importlib.util
import re
from types import ModuleType
from typing import Any, get_args

import pytest
import yaml

from l2m_design.architecture import MixerSpec
from l2m_design.information import MeasurementSettings
from l2m_design.report import words
from l2m_design.search.adoption.settings import AdoptionSettings
from l2m_design.search.results.reading import load_summary
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.space import Space
from tests.fences import REPOSITORY

DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generated", DOCS / "generated.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_study(settings: Any = StudySettings) -> list[Any]:
    parts = [
        part
        for field in settings.model_fields.values()
        for each in (field.annotation, *get_args(field.annotation))
        for part in (each, *get_args(each))
    ]
    found = [settings, MeasurementSettings, *(part for part in parts if hasattr(part, "model_fields"))]
    return list(dict.fromkeys(found))


OF_BOTH = list(dict.fromkeys([*of_study(), *of_study(AdoptionSettings)]))


@pytest.mark.parametrize("settings", [*OF_BOTH, Space, *get_args(get_args(MixerSpec)[0])], ids=lambda s: s.__name__)
def test_every_key_is_explained_where_it_is_declared(settings: Any, generated: ModuleType) -> None:
    _, meanings = generated.explained(settings)
    assert not [name for name in settings.model_fields if not meanings.get(name)]


@pytest.mark.parametrize(("name", "whole"), [("study", StudySettings), ("adoption", AdoptionSettings)])
def test_every_section_of_a_study_is_listed_with_every_key(generated: ModuleType, name: str, whole: Any) -> None:
    text = "\n".join(generated.GENERATED[name]())
    for settings in of_study(whole):
        for key in settings.model_fields:
            assert f"| `{key}` |" in text, (settings.__name__, key)


def test_every_command_is_listed_with_every_option(generated: ModuleType) -> None:
    text = "\n".join(generated.commands())
    verbs = re.findall(r"^## l2m (\w+)$", text, flags=re.MULTILINE)
    assert sorted(verbs) == sorted(
        path.stem for path in (REPOSITORY / "l2m_design" / "cli").glob("*.py") if "\ndef command(" in path.read_text()
    )
    assert "http://HOST/v1#MODEL" in text
    assert "| `--eta` | path |" in text


def test_a_field_description_ends_where_the_next_begins(generated: ModuleType) -> None:
    intro, meanings = generated.described(
        "What it is.\n\nlow, high: its ends: both in nats. level: of it.", ["low", "high", "level"]
    )
    assert intro == "What it is."
    assert meanings == {"low": "its ends: both in nats.", "high": "its ends: both in nats.", "level": "of it."}


def test_every_page_is_in_the_navigation_once() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text()
    named = re.findall(r": ([\w/-]+\.md)$", text.split("\nnav:")[1], flags=re.MULTILINE)
    assert sorted(named) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    assert yaml.safe_load(text)["strict"]


def test_nothing_is_asked_for_that_is_not_generated(generated: ModuleType) -> None:
    asked = [name for page in DOCS.rglob("*.md") for name in re.findall(r"<!-- generated: (\w+) -->", page.read_text())]
    assert sorted(asked) == sorted(generated.GENERATED)


@pytest.mark.parametrize("name", ["README.md", "docs/how-to/report.md"])
def test_the_figures_shown_are_those_of_the_shipped_study(name: str) -> None:
    """A row for every finalist, and the estimate of beta."""
    summary = load_summary(REPOSITORY / "reports" / "quickstart")
    assert summary.demand.measurement
    assert summary.demand.measurement.beta
    rows = (REPOSITORY / name).read_text().splitlines()
    assert any(words.estimate(summary.demand.measurement.beta) in row for row in rows)
    for finalist in summary.finalists:
        at = finalist.lengths[summary.choice.length]
        figures = [
            finalist.name,
            finalist.picture,
            f"{at.test_loss:.3f}",
            words.estimate(at.difference, sign=True),
            f" {at.effective_context} ",
            words.size(finalist.state_bytes),
            f"t^{finalist.growth_exponent:.2f} {words.MARKS[finalist.meets_growth]}",
        ]
        assert any(all(figure in row for figure in figures) for row in rows), figures
