"""Documents name what is there: files, make targets, commands."""

import re
import tomllib
from pathlib import Path

import pytest

from l2m_design import __version__
from l2m_design.settings import read_mapping

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_reference_to_a_file_in_the_documents_is_there(document: Path) -> None:
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name}: {target}"


GUIDES = [REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs" / "extending").glob("*.md"))]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.name)
def test_paths_make_targets_and_commands_in_a_guide_exist(guide: Path) -> None:
    text, makefile = guide.read_text(), (REPOSITORY / "Makefile").read_text()
    for path in re.findall(r"`((?:l2m_design|tests|docs|benchmarks|search_spaces)/[\w/.]+)`", text):
        assert (REPOSITORY / path).exists(), path
    for target in re.findall(r"^make (\w+)", text, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for verb in re.findall(r"l2m ([a-z]+)", text):
        assert (REPOSITORY / "l2m_design" / "cli" / f"{verb}.py").exists(), verb


def test_the_documented_extras_are_those_of_the_package_and_no_others_are_used() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    page = (REPOSITORY / "docs" / "how-to" / "install.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, flags=re.MULTILINE)) == extras
    for document in (*DOCUMENTS, REPOSITORY / "Dockerfile"):
        if document.name != "CHANGELOG.md":
            for names in re.findall(r"'\.?\[([\w,-]+)\]'", document.read_text()):
                assert set(names.split(",")) <= extras, (document.name, names)


def test_the_version_is_the_same_everywhere() -> None:
    assert read_mapping(REPOSITORY / "CITATION.cff")["version"] == __version__
    newest = re.findall(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[0]
    assert newest in (__version__, "Unreleased")


def test_a_section_of_the_changelog_stands_once_in_a_release() -> None:
    for release in (REPOSITORY / "CHANGELOG.md").read_text().split("\n## ")[1:]:
        sections = re.findall(r"^### (\w+)", release, flags=re.MULTILINE)
        assert len(sections) == len(set(sections)), release.splitlines()[0]


@pytest.mark.parametrize(
    "form", sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.name
)
def test_an_issue_form_is_whole(form: Path) -> None:
    data = read_mapping(form)
    if form.name != "config.yml":
        assert {"name", "description", "body"} <= data.keys()
        ids = [part["id"] for part in data["body"]]
        assert len(ids) == len(set(ids))
