"""The map of an adoption study that answers to the pointer: which cache costs what in which layer, and who has it."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np

from l2m_design.report.colours import BAD, DATA
from l2m_design.report.interactive.parts import INK, WIDE, hover, plain_text
from l2m_design.report.plans import LINEAR, CacheMap, cache_map, caches
from l2m_design.report.scales import symlog
from l2m_design.report.words import letter, size
from l2m_design.search.adoption.results import AdoptionSummary
from l2m_design.settings import Json

OTHER = "another cache"  # of a plan that is shown alone: no column of its own
CLEAR = "rgba(0,0,0,0)"
DEEPEST = 0.7  # opacity of the largest cost
Cells = dict[tuple[str, int], str]  # texts of the cells of the map by cache and row


def cost_map(summary: AdoptionSummary) -> Json:
    """Cost of each cache alone, by layer (or kv head) from the input down; letters: the budgets whose plan has it.

    A plan that is shown alone has its cells framed; a cache that no column has stands in the last one.
    """
    found = cache_map(summary)
    texts = {
        (name, row): _cell(found, name, row, summary)
        for row in range(len(found.units))
        for name in found.options
        if np.isfinite(found.costs[found.options.index(name), row]) or found.letters(name, row)
    }
    plans = {row.key: caches(row, found.units, summary.start.kv_heads) for row in summary.rows}
    strange = any((name, row) not in texts for names in plans.values() for row, name in enumerate(names))
    columns = [*found.options, *([OTHER] if strange else [])]
    return {
        "traces": [
            _cells(found, texts), _scale(found), *(_framed(key, names, texts, found) for key, names in plans.items())
        ],
        "layout": {
            "barmode": "overlay",
            "height": max(320, 150 + (16 if found.by_head else 22) * len(found.units)),
            "xaxis": {"type": "category", "categoryorder": "array", "categoryarray": [plain_text(c) for c in columns],
                      "range": [-0.5, len(columns) - 0.5], "dtick": 1, "showgrid": False, "fixedrange": True},
            "yaxis": {"title": {"text": "layer, its kv heads below each other" if found.by_head else "layer"},
                      "range": [len(found.units) - 0.5, -0.5], "tickvals": list(found.ticks), "fixedrange": True,
                      "ticktext": [str(layer) for layer in found.ticks.values()], "showgrid": False, "zeroline": False},
        },
    }  # fmt: skip


def _cell(found: CacheMap, name: str, row: int, summary: AdoptionSummary) -> str:
    """A cache in a layer as the text of its cell."""
    unit, cost = found.units[row], found.costs[found.options.index(name), row]
    offered = name in unit.options
    lines = [_where(found, row) + f": {name}"]
    if offered and unit.options.index(name) == 0:
        lines.append("the model's own cache")
    elif np.isfinite(cost):
        lines.append(f"alone costs {cost:+.4f} nats per token")
    else:
        lines.append("its cost alone was not measured")
    if offered:
        lines.append(f"state {size(unit.bytes[unit.options.index(name)])}")
    has = found.letters(name, row)
    used = [f"{letter(n)}\u00a0({each.share:.3g})" for n, each in enumerate(summary.budgets) if letter(n) in has]
    lines += wrap(f"in the plan of budget {', '.join(used)}", WIDE) if used else ["in no budget's plan"]
    return hover(*lines)


def _where(found: CacheMap, row: int) -> str:
    unit = found.units[row]
    return f"layer {unit.layer}" + (f", kv head {unit.heads[0]}" if found.by_head else "")


def _bars(names: Sequence[str], rows: Sequence[int], texts: Sequence[str], marker: Json, **more: object) -> Json:
    """Cells of the map: bars that float at their row."""
    return {
        "type": "bar", "x": [plain_text(name) for name in names], "base": [row - 0.46 for row in rows],
        "y": [0.92] * len(rows), "width": 0.96, "text": texts, "textposition": "none", "marker": marker,
        "hovertemplate": "%{text}<extra></extra>", **more,
    }  # fmt: skip


def _cells(found: CacheMap, texts: Cells) -> Json:
    """All cells with their colours and letters."""
    between = "" if len(found.taken) <= 26 else " "
    colours = [_colour(found.costs[found.options.index(name), row] / found.top) for name, row in texts]
    return _bars([name for name, _ in texts], [row for _, row in texts], list(texts.values()), {"color": colours}) | {
        "customdata": [between.join(found.letters(*at)) for at in texts],
        "texttemplate": "%{customdata}", "textposition": "inside", "insidetextanchor": "middle",
        "constraintext": "none", "textangle": 0,
        "insidetextfont": {"color": INK, "size": 12}, "name": "caches", "meta": {"key": False},
    }  # fmt: skip


def _colour(part: float) -> str:
    """Of a cost, as a part of the largest: red above 0 and blue below, the fainter the nearer to it; clear if NaN."""
    deep = DEEPEST * abs(symlog(part, 1 / LINEAR)) / symlog(1, 1 / LINEAR) if np.isfinite(part) else 0.0
    red, green, blue = bytes.fromhex((BAD if part > 0 else DATA).removeprefix("#"))
    return f"rgba({red},{green},{blue},{deep:.3f})"


def _scale(found: CacheMap) -> Json:
    """A trace of nothing that has the scale of colours."""
    middle = float(f"{0.03 * found.top:.1g}")  # half-way to the end, so that no names of the scale touch
    marks = [-found.top, -middle, 0, middle, found.top]
    ends = symlog(1, 1 / LINEAR)
    return {
        "type": "scatter", "mode": "markers", "x": [None], "y": [None], "hoverinfo": "skip", "meta": {"key": False},
        "marker": {
            "color": [0], "cmin": -ends, "cmax": ends, "showscale": True,
            "colorscale": [[0, _colour(-1)], [0.5, _colour(0)], [0.5, _colour(1e-9)], [1, _colour(1)]],
            "colorbar": {
                "orientation": "h", "thickness": 10, "len": 1, "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom",
                "outlinewidth": 0, "tickvals": [symlog(mark, found.top / LINEAR) for mark in marks],
                "ticktext": [f"{mark:.2g}" for mark in marks], "tickfont": {"size": 12},
                "title": {"text": "cost alone, nats per token", "side": "top", "font": {"size": 13}},
            },
        },
    }  # fmt: skip


def _framed(key: str, names: Sequence[str], texts: Cells, found: CacheMap) -> Json:
    """The cells of a plan, framed; seen while it is shown alone."""
    at = [name if (name, row) in texts else OTHER for row, name in enumerate(names)]
    said = [texts.get((name, row)) or hover(f"{_where(found, row)}: {name}", "its cost alone was not measured")
            for row, name in enumerate(names)]  # fmt: skip
    marker: Json = {"color": CLEAR, "line": {"color": INK, "width": 2}}
    return _bars(at, range(len(names)), said, marker, visible="legendonly", meta={"key": False, "design": key})
