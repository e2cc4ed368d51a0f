"""The style of all figures, and their conversion to files."""

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
]
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
