"""No private name of another package is used but those that are listed here, each with its reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "l2m_design"
FILES = sorted(ROOT.rglob("*.py"))
DOCUMENTED = {"_replace", "_fields", "_asdict", "_make", "_exit", "_thread"}  # of named tuples and Python itself

CPU_KERNEL = "torch's flash attention on CPUs has no public name that also gives the backward pass"
STATEFUL = "transformers says only there that a model keeps a recurrent state, which cannot be cut back"
LISTS = "torch's operations on lists of tensors, which its own optimisers use, have no public names"
USED = {
    "information/scores/huggingface.py": {"_is_stateful": STATEFUL},
    "model/blockwise.py": {
        "_scaled_dot_product_flash_attention_for_cpu": CPU_KERNEL,
        "_scaled_dot_product_flash_attention_for_cpu_backward": CPU_KERNEL,
    },
    "model/language.py": {"_dynamo": "before torch 2.13 only there can be said how many graphs a function may have"},
    "model/adopted.py": {
        "_is_stateful": STATEFUL,
        "_attn_implementation": "transformers reads the kind of attention there, and offers only to set it",
    },
    "training/muon.py": dict.fromkeys(("_foreach_lerp", "_foreach_lerp_", "_foreach_mul_", "_foreach_add_"), LISTS),
    "model/thinned.py": {
        "_is_stateful": STATEFUL,
        "_attn_implementation": "transformers reads the kind of attention there, and offers only to set it",
    },
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in DOCUMENTED


def own_names() -> set[str]:
    """Functions, classes, fields and attributes that this package defines."""
    found: set[str] = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value) == "self"
            ):
                found.add(node.attr)
    return found


def foreign(path: Path, own: set[str]) -> Iterator[str]:
    """Private names of others: attributes, modules, what is imported from them, and names that getattr is given."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr not in own:
            yield node.attr
        elif isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] != "l2m_design":
            yield from (node.module or "").split(".")
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("attr"):
            yield from (word.value for word in node.args[1:2] if isinstance(word, ast.Constant))


@pytest.fixture(scope="module")
def used() -> dict[str, set[str]]:
    own = own_names()
    found = {path.relative_to(ROOT).as_posix(): set(filter(is_private, foreign(path, own))) for path in FILES}
    return {name: names for name, names in found.items() if names}


def test_private_names_of_libraries_are_used_where_it_is_said_why(used: dict[str, set[str]]) -> None:
    strays = {name: names - USED.get(name, {}).keys() for name, names in used.items()}
    assert not {name: names for name, names in strays.items() if names}


def test_the_list_names_nothing_that_is_no_longer_used(used: dict[str, set[str]]) -> None:
    gone = {name: listed.keys() - used.get(name, set()) for name, listed in USED.items()}
    assert not {name: names for name, names in gone.items() if names}


def test_every_way_to_a_private_name_is_seen(tmp_path: Path) -> None:
    code = "import a._b\nfrom c._d import _e\nx._f\ngetattr(x, '_g')\nx._own\nx._replace()\nx.__class__\n"
    (tmp_path / "code.py").write_text(code)
    found = set(filter(is_private, foreign(tmp_path / "code.py", {"_own"})))
    assert found == {"_b", "_d", "_e", "_f", "_g"}
