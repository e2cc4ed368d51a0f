"""The figure of two studies, as SVG text: late loss against state, a colour per study."""

from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.ticker

from l2m_design.estimates import Estimate
from l2m_design.report.colours import ASIDE, SIDES
from l2m_design.report.designs import Design
from l2m_design.report.figures.style import STYLE, as_svg, figure, legend_below, literal, name_points
from l2m_design.report.words import size


def front(points: Mapping[str, Sequence[tuple[Design, Estimate]]]) -> str:
    """Late loss on test documents against state bytes at each study's target, with 95% intervals; large: chosen."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(5.4)
        places = []
        for (study, rows), colour, aside in zip(points.items(), SIDES, ASIDE, strict=True):
            for design, found in rows:
                error, large = [[found.value - found.low], [found.high - found.value]], 9 if design.chosen else 5
                x = design.state_bytes * aside
                axes.errorbar([x], [found.value], error, fmt="o", ms=large, capsize=2, color=colour)
                places.append((design.title.split(": ")[0], x, found.low, found.high, colour))
            axes.plot([], [], "o", color=colour, label=literal(study))
        axes.set_xscale("log", base=2)
        axes.margins(x=0.15, y=0.2)
        axes.set_xlabel("state at the target length, bytes")
        axes.set_ylabel("late loss, nats per token")
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: size(x)))
        legend_below(drawing)
        name_points(axes, places)
        return as_svg(drawing)
