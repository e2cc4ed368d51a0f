"""A measurement as a picture or a page."""

from functools import partial
from pathlib import Path

from l2m_design.information import Measurement, TwoPoint
from l2m_design.report.picture import save


def draw(path: Path, corpus: str, found: list[Measurement], pairs: TwoPoint | None, published: bool) -> None:
    """Write the figure, or a self-contained page with it, atomically. Raises BadInput if it cannot be written."""
    from l2m_design.report.figures.measurement import measurement_bytes, measurement_svg

    save(
        path,
        partial(measurement_svg, found, pairs, published),
        partial(measurement_bytes, found, pairs, published),
        "measurement.html.j2",
        {"corpus": corpus, "found": found, "pairs": pairs},
    )
