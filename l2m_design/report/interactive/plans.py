"""The figures of an adoption study's plans that answer to the pointer: loss against state, and against summed costs."""

from textwrap import wrap
from typing import Any

from l2m_design.report.colours import BAD
from l2m_design.report.interactive.parts import (
    FAINT,
    WIDE,
    axis,
    bars,
    hover,
    symlog_axis,
    trace,
)
from l2m_design.report.plans import SEARCHED, Kind, kinds, linear_part, losses, marked, title
from l2m_design.report.scales import symlog
from l2m_design.report.words import estimate, letter, size
from l2m_design.search.adoption.results import AdoptionSummary, Check, PlanRow
from l2m_design.settings import Json


def front(summary: AdoptionSummary) -> Json:
    """Late loss above the model's own on test windows against state bytes at the target, a point a plan."""
    delta, linear = summary.settings.choice.delta, linear_part(summary)
    traces = [each for kind in kinds(summary) for each in _kind(kind, summary, linear)]
    marks = marked(summary)
    near = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": symlog(delta, linear)}
    look = {"fillcolor": "@good", "opacity": 0.12, "line": {"width": 0}, "layer": "below"}
    return {
        "traces": traces,
        "layout": {
            "xaxis": {
                "type": "log",
                "title": {"text": f"budget: state at {summary.settings.condition.length:,} tokens"},
                "tickvals": list(marks),
                "ticktext": list(marks.values()),
            },
            "yaxis": symlog_axis("late loss above the model's, nats per token", losses(summary), linear)
            | {"zerolinecolor": FAINT},
            "shapes": [near | look],
        },
    }


def _kind(kind: Kind, summary: AdoptionSummary, linear: float) -> list[Json]:
    """The line of a kind, where there is one, and its plans."""
    measured = sorted((row for row in kind.rows if row.difference), key=lambda row: row.state_bytes)
    points = [_point(row, kind, summary, linear) for row in kind.rows if row.difference or row.predicted is not None]
    if not kind.line or len(measured) < 2:
        return points
    values = [symlog(row.difference.value, linear) for row in measured if row.difference]
    look = {"color": kind.colour, "width": 2.5 if kind.name == SEARCHED else 1.2}
    joined = trace(kind.name, [row.state_bytes * kind.aside for row in measured], values, [], mode="lines", line=look,
                   hoverinfo="skip", hovertemplate=None)  # fmt: skip
    return [joined, *points]


def _point(row: PlanRow, kind: Kind, summary: AdoptionSummary, linear: float) -> Json:
    """A plan: filled with its interval where test windows were read, else hollow where its costs predict it."""
    chosen = summary.chosen is not None and row.key == summary.chosen.key
    searched, found = kind.name == SEARCHED, row.difference
    value = found.value if found else row.predicted or 0.0
    symbol = "circle" if found else "circle-open"
    meta: Json = {"design": row.key, "symbol": symbol}
    if named := [*([letter(row.budget)] if searched else []), *(["chosen"] if chosen else [])]:
        meta |= {"label": ": ".join(named), "shown": ": ".join(named)}
    more: dict[str, Any] = {"zorder": 1 + searched + chosen}
    if found:
        ends = [symlog(end, linear) for end in (found.low, found.value, found.high)]
        more["error_y"] = bars(*([end] for end in ends)) | {"color": kind.colour}
    more["marker"] = {"color": kind.colour, "size": 14 if chosen else 11 if searched else 7, "symbol": symbol}
    x, y = row.state_bytes * kind.aside, symlog(value, linear)
    return trace(kind.name, [x], [y], [_said(row, chosen)], mode="markers", meta=meta, **more)


def _said(row: PlanRow, chosen: bool) -> str:
    """A plan as the text of its point."""
    lines = [
        *wrap(f"{'chosen: ' if chosen else ''}budget {title(row)}", WIDE),
        *wrap(f"layers {row.picture}", WIDE),
        f"state {size(row.state_bytes)}, {row.share:.3g} of the model's",
    ]
    if row.difference:
        lines.append(f"loses {estimate(row.difference, sign=True)} nats per token")
    if row.predicted is not None:
        lines.append(f"predicted {row.predicted:+.4f}" + ("" if row.difference else "; not measured on test windows"))
    return hover(*lines)


def check(found: Check) -> Json | None:
    """Measured losses of random plans against the sums of their costs."""
    if not found.measured:
        return None
    said = [hover("random plan", f"summed costs {one:+.4f}", f"measured {two:+.4f} nats per token")
            for one, two in zip(found.predicted, found.measured, strict=True)]  # fmt: skip
    ends = [min(found.predicted + found.measured), max(found.predicted + found.measured)]
    equal = trace("equal", ends, ends, [], mode="lines", line={"color": BAD, "dash": "dash", "width": 1.5},
                  hoverinfo="skip", hovertemplate=None)  # fmt: skip
    plans = trace("random plans", found.predicted, found.measured, said, mode="markers",
                  marker={"color": "@data", "size": 9}, meta={"symbol": "circle"})  # fmt: skip
    return {
        "traces": [equal, plans],
        "layout": {
            "xaxis": axis("summed costs, nats per token"),
            "yaxis": axis("measured above the model's"),
            "hovermode": "closest",
        },
    }
