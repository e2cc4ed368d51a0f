"""A measurement as a picture or a page: the ending of the file's name says which."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from l2m_design.errors import BadInput
from l2m_design.information import Measurement, TwoPoint
from l2m_design.settings import write_atomically

ENDINGS = (".png", ".svg", ".html")


def check_ending(path: Path) -> None:
    """Raises BadInput when the ending names no kind of picture."""
    if path.suffix not in ENDINGS:
        raise BadInput(f"--plot {path}: the ending says the kind; allowed: {', '.join(ENDINGS)}")


def draw(path: Path, corpus: str, found: list[Measurement], pairs: TwoPoint | None, published: bool) -> None:
    """Write the figure, or a page with it that needs nothing else, atomically. Raises BadInput on a bad place."""
    from l2m_design.report.figures.measurement import measurement_bytes, measurement_svg

    check_ending(path)
    if path.suffix == ".html":
        environment = Environment(
            loader=PackageLoader("l2m_design.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        svg = measurement_svg(found, pairs, published)
        content: str | bytes = environment.get_template("measurement.html.j2").render(
            corpus=corpus, found=found, pairs=pairs, svg=svg
        )
    else:
        content = measurement_bytes(found, pairs, published, path.suffix[1:])
    try:
        write_atomically(path, content)
    except OSError as error:
        raise BadInput(f"--plot {path}: {error.strerror or error}") from None
