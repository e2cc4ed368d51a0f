"""The figures of an adoption study, as SVG text: front, map of costs, measured against predicted losses."""

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from l2m_design.architecture.plans import CachePlan
from l2m_design.report.figures.style import BAD, DATA, GOOD, GREY, INK, LINES, STYLE, as_svg, figure
from l2m_design.report.words import letter, size
from l2m_design.search.adoption.results import AdoptionSummary, Check, PlanRow, UnitRow

SEARCHED, HEALED, RANDOM = "searched", "searched and healed", "random plan"
MOST_ROWS = 128
BESIDE = 0.05  # doublings between the marks of plans of one budget, whose intervals would hide each other


def front(summary: AdoptionSummary) -> str:
    """Loss above the model's own against state bytes at the target: searched plans and their rivals, 95% intervals."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(4.6, 9.6)
        groups: dict[str, list[PlanRow]] = {SEARCHED: [budget.best for budget in summary.budgets]}
        groups[HEALED] = [budget.healed for budget in summary.budgets if budget.healed]
        for budget in summary.budgets:
            for row in budget.others:
                if row.name != "solved":
                    groups.setdefault(RANDOM if row.name.startswith(RANDOM) else row.name, []).append(row)
        colors = iter([each for each in LINES if each not in (GOOD, DATA)] * 3)
        for number, (name, rows) in enumerate(groups.items()):
            aside = 2 ** (BESIDE * (number - (len(groups) - 1) / 2))
            color = {SEARCHED: GOOD, HEALED: DATA, RANDOM: GREY}.get(name) or next(colors)
            _line(axes, name, rows, color, aside)
        delta = summary.settings.choice.delta
        axes.axhspan(0, delta, color=GOOD, alpha=0.10, lw=0)
        axes.set_xscale("log", base=2)
        axes.set_yscale("symlog", linthresh=max(delta, 0.01))
        axes.axhline(0, color=INK, lw=0.8)
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: size(x)))
        axes.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        axes.set_xlabel(f"state at {summary.settings.condition.length:,} tokens, bytes")
        axes.set_ylabel("late loss minus the model's, nats per token")
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return as_svg(drawing)


def _line(axes: Axes, name: str, rows: list[PlanRow], color: str, aside: float) -> None:
    """Plans of one kind: measured ones with intervals, predicted ones hollow; x is multiplied by `aside`."""
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
            label=name,
            elinewidth=0.8,
            capsize=2,
            lw=2.0 if bold else 1.0,
            ls="none" if name == RANDOM else "-",
            zorder=4 if bold else 3,
        )
    guessed = [
        (row.state_bytes * aside, row.predicted) for row in rows if not row.difference and row.predicted is not None
    ]
    if guessed:
        places, values = zip(*guessed, strict=True)
        axes.plot(places, values, "o", mfc="none", color=color, label=f"{name}, predicted")


def cost_map(summary: AdoptionSummary) -> str:
    """Cost of each cache in each layer or kv head; letters mark the caches in the plan of each budget."""
    units = summary.units[:MOST_ROWS]
    taken = [_taken_by(budget.best, units, summary.start.kv_heads) for budget in summary.budgets]
    offered = [name for unit in units for name in unit.options]
    options = list(dict.fromkeys([*offered, *(name for names in taken for name in names)]))
    costs = np.full((len(options), len(units)), np.nan)
    for column, unit in enumerate(units):
        for name, cost in zip(unit.options, unit.costs, strict=True):
            costs[options.index(name), column] = cost
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        width = min(16.0, 3.2 + 0.3 * len(units))
        drawing = Figure(figsize=(width, 1.6 + 0.34 * len(options)), layout="constrained")
        axes = drawing.add_subplot()
        top = max(1e-3, float(np.nanmax(np.abs(costs))))
        norm = SymLogNorm(linthresh=top / 100, vmin=-top, vmax=top)
        image = axes.imshow(costs, cmap="RdBu_r", norm=norm, aspect="auto", alpha=0.85)
        _taken(axes, taken, options)
        axes.set_yticks(range(len(options)), options, fontsize=8)
        places = [column for column, unit in enumerate(units) if unit.heads[0] == 0]
        axes.set_xticks(places, [str(units[column].layer) for column in places], fontsize=7)
        alone = all(len(unit.heads) == 1 for unit in units) and summary.start.kv_heads > 1
        axes.set_xlabel("layer, with its kv heads beside each other" if alone else "layer")
        bar = drawing.colorbar(image, ax=axes, pad=0.01, fraction=0.05)
        bar.set_label("cost alone, nats per token", fontsize=8)
        bar.ax.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%.2g"))
        bar.ax.tick_params(labelsize=7)
        axes.spines[:].set_visible(False)
        return as_svg(drawing)


def _taken_by(plan: PlanRow, units: list[UnitRow], kv_heads: int) -> list[str]:
    """The cache of a plan in each unit, in words."""
    layers = CachePlan.of_plain(plan.layers, kv_heads).layers
    kept = [{str(layers[unit.layer][head]) for head in unit.heads} for unit in units]
    return [names.pop() if len(names) == 1 else "heads differ" for names in kept]


def _taken(axes: Axes, taken: list[list[str]], options: list[str]) -> None:
    """A letter for each budget, in the cells of the caches of its plan."""
    cells: dict[tuple[int, int], list[str]] = {}
    for number, names in enumerate(taken):
        for column, name in enumerate(names):
            cells.setdefault((column, options.index(name)), []).append(letter(number))
    between = "" if len(taken) <= 26 else " "
    for (column, row), letters in cells.items():
        paper = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
        axes.text(column, row, between.join(letters), ha="center", va="center", fontsize=6, color=INK, bbox=paper)


def check(found: Check) -> str:
    """Measured losses of random plans against the losses that their costs predict."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(3.8, 5.2)
        axes.scatter(found.predicted, found.measured, color=DATA, s=22)
        ends = [min(found.predicted + found.measured), max(found.predicted + found.measured)]
        axes.plot(ends, ends, color=BAD, lw=0.8, ls="--", label="equal")
        axes.set_xlabel("summed costs, nats per token")
        axes.set_ylabel("measured loss minus the model's")
        axes.legend(fontsize=8)
        return as_svg(drawing)
