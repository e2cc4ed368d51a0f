"""The figure of state laws: elements by context length; lines are laws, points were counted in real tensors."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from l2m_design.architecture import Architecture
from l2m_design.report.figures.style import LINES, STYLE, as_svg, figure, log_axes

Points = dict[int, int]


def state_svg(drawings: dict[str, Architecture], measured: dict[str, Points], longest: int) -> str:
    """SVG of each architecture's state law up to `longest` tokens, and what was counted in real tensors, by name."""
    with matplotlib.rc_context(STYLE):
        sheet, axes = figure(height=5.2, width=9.0)
        grid = np.unique(np.geomspace(1, longest, 200).astype(int)).tolist()
        ends = []
        for index, (name, drawing) in enumerate(drawings.items()):
            color = LINES[index % len(LINES)]
            axes.plot(grid, [drawing.state.elements(t) for t in grid], color=color, lw=1.4)
            points = measured.get(name, {})
            axes.plot(list(points), list(points.values()), "o", ms=4, color=color)
            growth = "" if "t^" in name else f", t^{drawing.state.exponent:.2g}"
            ends.append((drawing.state.elements(longest), name + growth, color))
        log_axes(axes, "context, tokens", "state, elements")
        name_ends(axes, ends, longest)
        return as_svg(sheet)


def name_ends(axes: matplotlib.axes.Axes, ends: Sequence[tuple[float, str, str]], longest: int) -> None:
    """Names at the lines' ends, moved apart where they would touch."""
    low, high = (np.log(edge) for edge in axes.get_ylim())
    room, at = (high - low) / 22, -np.inf
    for elements, name, color in sorted(ends):
        at = max(at + room, np.log(elements))
        axes.annotate(
            name, (longest, elements), (longest * 1.25, np.exp(at)), color=color, fontsize=9, va="center",
            annotation_clip=False,
        )  # fmt: skip
