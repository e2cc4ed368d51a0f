"""Examples of the README and of every page of the documentation: commands and Python run, the rest is parsed."""

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from l2m_design.architecture import Architecture
from l2m_design.cli import app
from l2m_design.search.adoption.settings import is_adoption, load_adoption
from l2m_design.search.settings import StudySettings, load_study
from l2m_design.settings import override, read_mapping
from tests.command import l2m
from tests.fences import PAGES, REPOSITORY, Block, blocks, commands

RUN = commands("bash")
PARSED = commands("bash", "sh", "console")
SPENDS_TIME = ("l2m search", "l2m train", "l2m estimate", "l2m calibrate", "l2m cache")
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def ids(block: Block) -> str:
    return block.place


def test_the_two_commands_stand_in_the_readme() -> None:
    assert {"make search", "make test"} <= {command for command, page in RUN.items() if page == "README.md"}


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_bytes()) <= 6_000


@pytest.mark.parametrize("command", [c for c in RUN if c.startswith("l2m ")])
def test_a_command_in_a_document_runs(command: str, tmp_path: Path, text_folder: Path) -> None:
    """Run as written, in a copy of what is shipped; what spends time says what it would do."""
    for folder in ("configs", "search_spaces", "reports"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    words = shlex.split(command.partition(" > ")[0].replace("reports/mine", "mine"))
    if command.startswith(SPENDS_TIME) and "--dry-run" not in words:
        words.append("--dry-run")
    if "--estimate" in words:
        source = ("santa-fe:beta=0.5", "--estimator", "profile", "--model", "oracle", "--json")
        of_text = json.loads(l2m("estimate", *source, cwd=tmp_path).stdout)
        of_text |= {"unit": "bytes", "bytes_per_token": 1.0, "vocabulary": 256}
        (tmp_path / words[words.index("--estimate") + 1]).write_text(json.dumps(of_text))
    if words[1] == "report":
        words += ["--out", str(tmp_path / "page.html")]
    done = l2m(*words[1:], cwd=tmp_path)
    assert done.returncode in ((0, 1) if words[1] == "check" else (0,)), done.stderr


@pytest.mark.parametrize("command", [c for c in PARSED if re.match(r"(\S+/)?l2m [a-z]", c)])
def test_a_command_in_a_document_has_options_that_exist(command: str) -> None:
    """Its verb, its options and what they take are known; no file is opened."""
    _, verb, *words = shlex.split(command.partition(" > ")[0])
    context = VERBS[verb].make_context(verb, words)
    if verb == "search":
        path = REPOSITORY / str(context.params["study"])
        outer = [setting for setting in context.params["overrides"] if not setting.startswith("space.")]
        if path.exists() and is_adoption(path):
            load_adoption(path, outer)
            return
        settings = StudySettings.parse(read_mapping(REPOSITORY / "configs" / "quickstart.yaml"), "quickstart")
        StudySettings.parse(override(settings.plain(), outer), command)


@pytest.mark.parametrize("block", blocks("bash", "sh"), ids=ids)
def test_shell_in_a_document_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("python"), ids=ids)
def test_python_in_a_document_runs(block: Block, tmp_path: Path, tiny_llama: Path, text_folder: Path) -> None:
    (tmp_path / "reports").symlink_to(REPOSITORY / "reports")
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    if '"bounded"' in block.text:
        words = ["--corpus", text_folder, "--length", "100", "--chunk", "8", "--share", "0.4", "--fit", "1"]
        made = l2m("cache", tiny_llama, *words, "--choose", "use", "--out", "bounded", cwd=tmp_path)
        assert made.returncode == 0, made.stderr
    done = subprocess.run([sys.executable, "-c", block.text], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("py"), ids=ids)
def test_python_that_is_part_of_a_file_is_python(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("block", blocks("yaml"), ids=ids)
def test_yaml_in_a_document_is_of_its_schema(block: Block, tmp_path: Path) -> None:
    """An architecture, a study, or some keys of a study; a manifest of another program is YAML."""
    data = yaml.safe_load(block.text)
    if "layers" in data:
        Architecture.model_validate(data)
    elif "start" in data:
        (tmp_path / "study.yaml").write_text(block.text)
        load_adoption(tmp_path / "study.yaml")
    elif "corpus" in data and "name" in data:
        (tmp_path / "search_spaces").symlink_to(REPOSITORY / "search_spaces")
        (tmp_path / "study.yaml").write_text(block.text)
        load_study(tmp_path / "study.yaml")
    elif "apiVersion" not in data:
        whole = read_mapping(REPOSITORY / "configs" / "quickstart.yaml")
        StudySettings.parse(whole | data, block.place)


def test_make_targets_in_the_documents_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"^make (\w+)|`make (\w+)`", page.read_text(), flags=re.MULTILINE):
            assert re.search(rf"^{target[0] or target[1]}:", makefile, flags=re.MULTILINE), (page, target)
