"""The figures of an adoption study, as SVG text: front, map of costs, measured against predicted losses."""

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from l2m_design.report.figures.style import BAD, DATA, GOOD, INK, STYLE, as_svg, figure, legend_below, literal
from l2m_design.report.plans import (
    LINEAR,
    SEARCHED,
    SOLVED,
    CacheMap,
    Kind,
    cache_map,
    kinds,
    linear_part,
    losses,
    marked,
)
from l2m_design.report.scales import symlog_marks
from l2m_design.report.words import letter
from l2m_design.search.adoption.results import AdoptionSummary, Check


def front(summary: AdoptionSummary) -> str:
    """Loss above the model's own against state bytes at the target: searched plans and their rivals, 95% intervals."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(5.4)
        for kind in kinds(summary):
            if kind.name != SOLVED:
                _line(axes, kind)
        delta = summary.settings.choice.delta
        axes.axhspan(0, delta, color=GOOD, alpha=0.10, lw=0)
        axes.set_xscale("log", base=2)
        linear, ends = linear_part(summary), losses(summary)
        axes.set_yscale("symlog", linthresh=linear)
        axes.set_ylim(min(ends) - 0.2 * linear, 1.3 * max(ends))
        axes.set_yticks(symlog_marks(ends, linear))
        axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.axhline(0, color=INK, lw=0.8)
        marks = marked(summary)
        axes.set_xticks(list(marks), list(marks.values()))
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        axes.set_xlabel(f"budget: state at {summary.settings.condition.length:,} tokens")
        axes.set_ylabel("late loss minus the model's, nats per token")
        legend_below(drawing)
        return as_svg(drawing)


def _line(axes: Axes, kind: Kind) -> None:
    """Plans of one kind: measured ones with their intervals, predicted ones hollow."""
    name, rows, color, aside = kind.name, kind.rows, kind.colour, kind.aside
    measured = sorted((row for row in rows if row.difference), key=lambda row: row.state_bytes)
    if measured:
        gaps = [row.difference for row in measured if row.difference]
        value, bold = np.array([gap.value for gap in gaps]), name == SEARCHED
        error = [value - [gap.low for gap in gaps], [gap.high for gap in gaps] - value]
        axes.errorbar(
            [row.state_bytes * aside for row in measured],
            value,
            error,
            fmt="o",
            ms=6 if bold else 3.5,
            color=color,
            label=literal(name),
            elinewidth=0.8,
            capsize=2,
            lw=2.0 if bold else 1.0,
            ls="-" if kind.line else "none",
            zorder=4 if bold else 3,
        )
        for row in measured if bold else []:
            at = (row.state_bytes * aside, row.difference.value if row.difference else 0.0)
            axes.annotate(letter(row.budget), at, (5, 5), textcoords="offset points", fontsize=8, color=INK)
    guessed = [
        (row.state_bytes * aside, row.predicted) for row in rows if not row.difference and row.predicted is not None
    ]
    if guessed:
        places, values = zip(*guessed, strict=True)
        axes.plot(places, values, "o", mfc="none", color=color, label=literal(f"{name}, predicted"))


def cost_map(summary: AdoptionSummary) -> str:
    """Cost of each cache in each layer or kv head; letters mark the caches in the plan of each budget."""
    found = cache_map(summary)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        width = min(16.0, 3.2 + 0.3 * len(found.units))
        drawing = Figure(figsize=(width, 1.6 + 0.34 * len(found.options)), layout="constrained")
        axes = drawing.add_subplot()
        norm = SymLogNorm(linthresh=found.top / LINEAR, vmin=-found.top, vmax=found.top)
        image = axes.imshow(found.costs, cmap="RdBu_r", norm=norm, aspect="auto", alpha=0.85)
        _taken(axes, found)
        axes.set_yticks(range(len(found.options)), found.options, fontsize=8)
        axes.set_xticks(list(found.ticks), [str(layer) for layer in found.ticks.values()], fontsize=7)
        axes.set_xlabel("layer, its kv heads side by side" if found.by_head else "layer")
        bar = drawing.colorbar(image, ax=axes, pad=0.01, fraction=0.05)
        bar.set_label("cost alone, nats per token", fontsize=8)
        bar.ax.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%.2g"))
        bar.ax.tick_params(labelsize=7)
        axes.spines[:].set_visible(False)
        return as_svg(drawing)


def _taken(axes: Axes, found: CacheMap) -> None:
    """A letter for each budget, in the cells of the caches of its plan."""
    between = "" if len(found.taken) <= 26 else " "
    paper = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
    for row, option in enumerate(found.options):
        for column in range(len(found.units)):
            if letters := between.join(found.letters(option, column)):
                axes.text(column, row, letters, ha="center", va="center", fontsize=6, color=INK, bbox=paper)


def check(found: Check) -> str:
    """Measured losses of random plans against the losses that their costs predict."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(4.4)
        axes.scatter(found.predicted, found.measured, color=DATA, s=22)
        ends = [min(found.predicted + found.measured), max(found.predicted + found.measured)]
        axes.plot(ends, ends, color=BAD, lw=0.8, ls="--", label="equal")
        axes.set_xlabel("summed costs, nats per token")
        axes.set_ylabel("measured loss minus the model's")
        legend_below(drawing)
        return as_svg(drawing)
