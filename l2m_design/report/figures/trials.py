"""The ladder and the importances of a study's choices, as self-contained SVG text."""

from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.ticker
import numpy as np

from l2m_design.report.figures.style import DATA, GREY, INK, STYLE, as_svg, figure, legend_below, literal
from l2m_design.report.importance import Importance

Climb = Sequence[tuple[int, float]]


def ladder(climbs: Mapping[int, Climb], named: Mapping[int, tuple[str, str]]) -> str:
    """Late loss against training tokens by trial; named: colour and title of the designs that have one."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(4.6)
        others = [point for n, points in climbs.items() if n not in named for point in (*points, (np.nan, np.nan))]
        if others:
            axes.plot(*zip(*others, strict=True), color=GREY, lw=0.6, marker="o", ms=2.5, label="other trials")
        for number, (color, title) in named.items():
            if points := climbs.get(number):
                axes.plot(*zip(*points, strict=True), color=color, lw=1.6, marker="o", ms=3.5, label=literal(title))
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({tokens for points in climbs.values() for tokens, _ in points}))
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.set_xlabel("training tokens")
        axes.set_ylabel("late loss, nats per token")
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
        legend_below(drawing)
        return as_svg(drawing)


def choices(found: Sequence[Importance]) -> str:
    """Share of the variance of the loss between the values of each choice; ticks mark the share by chance alone."""
    with matplotlib.rc_context(STYLE):
        rows = list(reversed(found))
        drawing, axes = figure(1.2 + 0.24 * len(rows))
        colors = [DATA if each.share > each.chance else GREY for each in rows]
        names = [literal(each.choice) for each in rows]
        axes.barh(names, [100 * each.share for each in rows], color=colors)
        axes.plot([100 * each.chance for each in rows], names, "|", ms=10, mew=2, color=INK,
                  label="95% of what chance alone gives")  # fmt: skip
        axes.set_xlabel("share of the variance of the loss, %")
        legend_below(drawing)
        return as_svg(drawing)
