"""A figure as a picture or a page, by the ending of the file name."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from l2m_design.errors import BadInput
from l2m_design.settings import write_atomically

STATIC = Path(__file__).with_name("static")
ENDINGS = (".png", ".svg", ".html")


def check_ending(path: Path) -> None:
    """Raises BadInput if the ending of the file name is not that of a supported picture."""
    if path.suffix not in ENDINGS:
        raise BadInput(f"--plot {path}: the file name must end in one of: {', '.join(ENDINGS)}")


def rendered(page: str, told: Mapping[str, Any]) -> str:
    """Render a template with these values; style and scripts are the same on all pages."""
    environment = Environment(
        loader=PackageLoader("l2m_design.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(page).render(asset=asset, as_script=as_script, **told)


def asset(name: str) -> Markup:
    """A file of static/, to include in a page unchanged."""
    return Markup((STATIC / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of this package


def as_script(data: object) -> Markup:
    """JSON inside a script element, escaped so that no text in it ends the element or begins a comment."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704 - escaped


def save_figures(svgs: Mapping[str, str], folder: Path) -> list[Path]:
    """Write SVG texts by name as files of a folder, which is made; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{name}.svg": svg for name, svg in svgs.items()}
    for file, svg in files.items():
        write_atomically(file, svg)
    return list(files)


def save(path: Path, svg: Callable[[], str], file: Callable[[str], bytes], page: str, told: Mapping[str, Any]) -> None:
    """Write a figure, or a self-contained page with it, atomically. Raises BadInput if it cannot be written.

    svg: the figure to include in a page. file: as a "png" or "svg". page: template that shows `svg` and `told`.
    """
    check_ending(path)
    if path.suffix == ".html":
        content: str | bytes = rendered(page, {"svg": svg(), **told})
    else:
        content = file(path.suffix[1:])
    try:
        write_atomically(path, content)
    except OSError as error:
        raise BadInput(f"--plot {path}: {error.strerror or error}") from None
