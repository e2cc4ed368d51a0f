"""What is shipped works: YAML files load, help is fast."""

import subprocess
import sys
from pathlib import Path

import pytest

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.search.adoption.settings import is_adoption, load_adoption
from l2m_design.search.settings import load_study
from l2m_design.search.space.space import Space
from l2m_design.settings import read_mapping

REPOSITORY = Path(__file__).parents[2]
CONFIGS = {path: read_mapping(path).get("script") for path in sorted((REPOSITORY / "configs").glob("*.yaml"))}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "search_spaces").glob("*.yaml")), ids=lambda p: p.name)
def test_a_shipped_space_loads_and_says_what_for(path: Path) -> None:
    assert path.read_text().startswith("# ")
    space = Space.load(path).resolved(0.7)
    assert space.draw(lambda name, options: options[0], 256).parameters > 0


@pytest.mark.parametrize("path", [path for path, script in CONFIGS.items() if script is None], ids=lambda p: p.name)
def test_a_shipped_study_loads_and_says_what_for(path: Path) -> None:
    assert path.read_text().startswith("# ")
    settings = load_adoption(path) if is_adoption(path) else load_study(path)[0]
    assert settings.name == path.stem


@pytest.mark.parametrize("path", [path for path, script in CONFIGS.items() if script], ids=lambda p: p.name)
def test_a_config_of_a_script_names_it_and_is_no_study_of_a_search(path: Path) -> None:
    """tests/benchmarks holds what else is in it."""
    script = CONFIGS[path]
    assert f"python {script}" in path.read_text().split("\nscript:")[0]
    assert path.name in (REPOSITORY / str(script)).read_text()
    with pytest.raises(BadInput, match=f"by `python {script}`, not by `l2m search`"):
        load_study(path)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "reports").glob("*/architecture.yaml")), ids=lambda p: p.parent.name
)
def test_a_shipped_drawing_loads(path: Path) -> None:
    assert Architecture.load(path) == Architecture.load(path.with_name("card.json"))


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['l2m', '--help']\n"
        "from l2m_design.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'optuna', 'mlflow', 'transformers', 'scipy', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "search" in done.stdout


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
