"""Bundle: the modules of this package that a model needs, as files that import each other beside them.

transformers copies the files that `from .name import` names, and no folders: so every module becomes one file.
"""

import ast
import re
from pathlib import Path

from l2m_design import __version__

PACKAGE = Path(__file__).parents[1]
MAIN = {
    "l2m_design.export.hub.configuration": "configuration_l2m",
    "l2m_design.export.hub.modeling": "modeling_l2m",
    "l2m_design.export.hub.adopted": "adopted_l2m",
}
DRAWN, ADOPTED = (*MAIN,)[:2], (*MAIN,)[2:]
IMPORT = re.compile(r"^( *)from (l2m_design[\w.]*) import", flags=re.MULTILINE)


def bundle(modules: tuple[str, ...] = DRAWN) -> dict[str, str]:
    """File names and texts of these modules, the last of which transformers loads, and all they import from this
    package.
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found[module] = source(module).read_text(encoding="utf-8")
            waiting += sorted(needed(found[module]))
    files = {f"{flat(module)}.py": rewritten(module, text) for module, text in sorted(found.items())}
    others = sorted(flat(module) for module in found if module not in modules)
    every = "".join(f"from .{name} import __doc__ as _  # noqa\n" for name in others)
    files[f"{MAIN[modules[-1]]}.py"] += f"\n# transformers 4.57 copies only files that this one imports itself\n{every}"
    return files


def source(module: str) -> Path:
    """The file of a module of this package."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def needed(text: str) -> set[str]:
    """Modules of this package that a text imports. Raises ValueError for an import that would not be rewritten."""
    modules = {match[2] for match in IMPORT.finditer(text)}
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.split(".")[0] == "l2m_design" and name not in modules:
                raise ValueError(f"import {name}: write from {name} import ..., which can be bundled")
    return modules


def flat(module: str) -> str:
    """The name of a module's file in a bundle."""
    return MAIN.get(module) or "_".join(["l2m", *module.split(".")[1:]])


def rewritten(module: str, text: str) -> str:
    """The text with this package's imports made relative, and a first line that says whose it is."""
    note = f"# Generated from {module} of l2m-design {__version__} (Apache-2.0); change it there.\n"
    return note + IMPORT.sub(lambda match: f"{match[1]}from .{flat(match[2])} import", text)
