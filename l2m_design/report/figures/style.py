"""How every figure looks, and how it becomes a file."""

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GREY, DATA, GOOD, BAD, ALSO = "#1c2733", "#8a94a0", "#1f6fb2", "#2a8c5a", "#c0392b", "#a0672c"
LINES = [
    "#2a8c5a",
    "#1f6fb2",
    "#a0672c",
    "#7b4fa3",
    "#3b9c9c",
    "#b0457b",
    "#6b7680",
    "#8a9a2b",
    "#d08c2c",
    "#5566cc",
    "#2f4f4f",
    "#c06060",
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
    "grid.color": "#e8ecef",
    "legend.frameon": False,
    "svg.hashsalt": "l2m",
}


def figure(height: float = 3.6, width: float = 7.2) -> tuple[Figure, Axes]:
    """An empty drawing of inches, and its axes."""
    with matplotlib.rc_context(STYLE):
        drawing = Figure(figsize=(width, height), layout="constrained")
        return drawing, drawing.add_subplot()


def as_svg(drawing: Figure) -> str:
    """SVG text without its XML prologue, to stand in a page."""
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
