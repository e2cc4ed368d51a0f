"""What is shipped works: YAML files load, the README's commands run, help is fast."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from l2m_design.architecture import Architecture
from l2m_design.search.adoption.settings import is_adoption, load_adoption
from l2m_design.search.settings import load_study
from l2m_design.search.space.space import Space

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```(?:bash|sh)\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]
SPENDS_TIME = ("l2m search", "l2m train", "l2m estimate", "l2m calibrate")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "search_spaces").glob("*.yaml")), ids=lambda p: p.name)
def test_a_shipped_space_loads_and_says_what_for(path: Path) -> None:
    assert path.read_text().startswith("# ")
    space = Space.load(path).resolved(0.7)
    assert space.draw(lambda name, options: options[0], 256).parameters > 0


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_a_shipped_study_loads_and_says_what_for(path: Path) -> None:
    assert path.read_text().startswith("# ")
    settings = load_adoption(path) if is_adoption(path) else load_study(path)[0]
    assert settings.name == path.stem


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "reports").glob("*/architecture.yaml")), ids=lambda p: p.parent.name
)
def test_a_shipped_drawing_loads(path: Path) -> None:
    assert Architecture.load(path) == Architecture.load(path.with_name("card.json"))


def test_the_two_commands_stand_in_the_readme() -> None:
    assert {"make search", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("l2m ")])
def test_a_command_in_the_readme_runs(command: str, tmp_path: Path) -> None:
    """Run as written, in a copy of what is shipped; what spends time says what it would do."""
    for folder in ("configs", "search_spaces", "reports"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    words = shlex.split(command.replace("reports/mine", "mine"))
    if command.startswith(SPENDS_TIME) and "--dry-run" not in words:
        words.append("--dry-run")
    output = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if output else words
    if "--estimate" in words:
        made = _l2m(
            ["estimate", "santa-fe:beta=0.5", "--estimator", "profile", "--model", "oracle", "--json"], tmp_path
        )
        of_text = json.loads(made.stdout) | {"unit": "bytes", "bytes_per_token": 1.0, "vocabulary": 256}
        (tmp_path / words[words.index("--estimate") + 1]).write_text(json.dumps(of_text))
    if words[1] == "report":
        words += ["--out", str(tmp_path / "page.html")]
    done = _l2m(words[1:], tmp_path)
    assert done.returncode in ((0, 1) if words[1] == "check" else (0,)), done.stderr


def _l2m(words: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "l2m_design", *words], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_python_in_the_readme_runs(code: str, tmp_path: Path, tiny_llama: Path, text_folder: Path) -> None:
    (tmp_path / "reports").symlink_to(REPOSITORY / "reports")
    if '"bounded"' in code:
        words = ["--corpus", str(text_folder), "--length", "100", "--chunk", "8", "--share", "0.4", "--fit", "1"]
        made = _l2m(["cache", str(tiny_llama), *words, "--choose", "use", "--out", "bounded"], tmp_path)
        assert made.returncode == 0, made.stderr
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for command in COMMANDS:
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", makefile, flags=re.MULTILINE), command


def test_help_needs_no_torch_and_half_a_second_of_a_core_at_most() -> None:
    code = (
        "import sys, time; sys.argv = ['l2m', '--help']\n"
        "from l2m_design.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'optuna', 'mlflow', 'transformers', 'scipy', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "print(time.process_time())\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    seconds = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        seconds.append(float(done.stdout.splitlines()[-1]))
    assert min(seconds) < 0.5


def test_check_waits_for_no_library_that_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bamba", "num_hidden_layers": 32, "attn_layer_indices": [1]}')
    (tmp_path / "drawing.yaml").write_text(
        "vocabulary: 9\nwidth: 8\nlayers: [{kind: attention, heads: 2, kv_heads: 1, head_dim: 4}]\n"
    )
    code = (
        "import sys\n"
        "from l2m_design.cli import app\n"
        "code = app(sys.argv[1:], standalone_mode=False)\n"
        "slow = {'torch', 'transformers', 'scipy', 'optuna', 'mlflow', 'pandas', 'pyarrow', 'matplotlib', 'sklearn'}\n"
        "sys.exit(f'answered {code in (0, 1)}, imported {slow & set(sys.modules)}')"
    )
    for words in (["config.json"], ["drawing.yaml", "--lengths", "4k,32k"], ["config.json", "drawing.yaml", "--json"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "check", *words, "--length", "4096"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stderr.splitlines()[-1] == "answered True, imported set()", (words, done.stderr)
