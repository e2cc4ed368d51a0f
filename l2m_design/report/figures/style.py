"""The style of all figures, and their conversion to files."""

import io
from collections.abc import Sequence
from itertools import product
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from l2m_design.report.colours import ALSO, BAD, DATA, GOOD, GREY, INK, LINES

__all__ = [
    "ALSO",
    "BAD",
    "DATA",
    "GOOD",
    "GREY",
    "INK",
    "LINES",
    "STYLE",
    "as_svg",
    "figure",
    "legend_below",
    "literal",
    "log_axes",
    "name_points",
]
AWAY = (10, -10, 24, -24, 38, -38, 52)  # points between a point and its name
STYLE: Any = {
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8ecef",
    "legend.frameon": False,
    "svg.hashsalt": "l2m",
}


def figure(height: float = 3.6, width: float = 7.2) -> tuple[Figure, Axes]:
    """An empty figure of this size in inches, and its axes."""
    with matplotlib.rc_context(STYLE):
        drawing = Figure(figsize=(width, height), layout="constrained")
        return drawing, drawing.add_subplot()


def as_svg(drawing: Figure) -> str:
    """SVG text without its XML prologue, to include in a page."""
    with matplotlib.rc_context({"svg.hashsalt": "l2m", "svg.fonttype": "none"}):
        text = io.StringIO()
        drawing.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue().split("?>", 1)[-1].split('"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">')[-1]


def log_axes(axes: Axes, x: str, y: str) -> None:
    """Lengths in doublings, the quantity in powers of ten."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def legend_below(drawing: Figure, columns: int = 2) -> None:
    """A legend below the axes, so that its marks are not mistaken for data."""
    if any(axes.get_legend_handles_labels()[0] for axes in drawing.axes):
        drawing.legend(loc="outside lower left", ncols=columns, fontsize=9, frameon=False)


def literal(text: str) -> str:
    """Text without mathematics: dollar signs are escaped, and a name that begins with _ stays in the legend."""
    return ("\u200b" if text.startswith("_") else "") + text.replace("$", r"\$")


Place = tuple[str, float, float, float, str]  # a name and its point: x, y from its low to its high end; its colour


def name_points(axes: Axes, places: Sequence[Place]) -> None:
    """Each name, a thin line to its point: above or below it, as near as no other name and no bar is in the way.

    Call it last: it lays the figure out, and what is added later moves the points.
    """
    if not places:
        return
    assert isinstance(axes.figure, Figure)
    axes.figure.draw_without_rendering()
    ordered = sorted(places, key=lambda place: place[1])
    middle = float(np.sqrt(ordered[0][1] * ordered[-1][1]))
    bars = [Bbox(axes.transData.transform([(x, low), (x, high)])).padded(2) for _, x, low, high, _ in places]
    taken: list[Bbox] = []
    for index, place in enumerate(ordered):
        inward = ("left", "right") if place[1] < middle else ("right", "left")
        nearest = sorted(AWAY, key=lambda away: (abs(away), (away > 0) == bool(index % 2)))  # in turn above and below
        best: tuple[int, Annotation, Bbox] | None = None
        for side, away in product(inward, nearest):
            named = _named(axes, place, away, side)
            box = Text.get_window_extent(named).expanded(1.08, 1.5)  # other fonts are wider
            covered = sum(map(box.overlaps, bars)) + len(bars) * sum(map(box.overlaps, taken))
            if best is not None and covered >= best[0]:
                named.remove()
                continue
            if best is not None:
                best[1].remove()
            best = covered, named, box
            if not covered:
                break
        assert best
        taken.append(best[2])


def _named(axes: Axes, place: Place, away: int, side: str) -> Annotation:
    """The name of a point this many points above its bar, or below it if away is negative."""
    name, x, low, high, colour = place
    named = axes.annotate(
        literal(name),
        (x, high if away > 0 else low),
        fontsize=8,
        color=colour,
        xytext=(0, away),
        textcoords="offset points",
        ha=side,
        va="bottom" if away > 0 else "top",
        arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6, "shrinkA": 0, "shrinkB": 1},
    )
    named.get_window_extent()  # puts the text beside its point
    return named
