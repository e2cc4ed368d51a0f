"""The interactive figures of a study's trials: loss against state, the ladder, importances."""

from collections.abc import Sequence

from l2m_design.report.designs import Design
from l2m_design.report.importance import Importance
from l2m_design.report.interactive.parts import (
    FAINT,
    INK,
    axis,
    hover,
    length_axis,
    of_design,
    plain_text,
    size_axis,
    trace,
)
from l2m_design.report.words import size
from l2m_design.search.record import Record
from l2m_design.search.results.values import Summary
from l2m_design.settings import Json


def said(record: Record) -> str:
    """The outcome of a trial, as the text of its point."""
    name = record.design or f"trial {record.number}"
    lines = [
        name if record.design is None else f"{name} (trial {record.number})",
        f"layers {record.picture}",
        f"state {size(record.state_bytes)}, {record.parameters:,} parameters",
    ]
    if record.late_loss is not None:
        lines.append(f"late loss {record.late_loss:.3f}")
    if record.rate != 1:
        lines.append(f"learning rate x {record.rate:g}")
    if record.reason:
        lines.append(f"{record.state}: {record.reason[:80]}")
    return hover(*lines)


def front(summary: Summary, named: Sequence[Design]) -> Json:
    """Late loss on validation documents against state at the target; rejected trials are at the bottom."""
    records = [r for r in summary.records if r.copy_of is None]
    done = [r for r in records if r.state == "complete" and r.late_loss is not None]
    own = {d.row.trial: d for d in named if d.row and d.row.trial is not None}
    traces = []
    others = [r for r in done if r.number not in own]
    for name, symbol, feasible in (
        ("other trials", "circle", True),
        ("other trials that do not meet the condition", "x", False),
    ):
        if rows := [r for r in others if r.feasible == feasible]:
            traces.append(_cloud(name, rows, [r.late_loss for r in rows], symbol))
    by_number = {r.number: r for r in done}
    line = [by_number[row.trial] for row in summary.front if row.trial in by_number]
    traces.append(
        trace("the front", [r.state_bytes for r in line], [r.late_loss for r in line], [said(r) for r in line],
              mode="lines", line={"color": FAINT, "width": 1.5}, hoverinfo="skip", hovertemplate=None)
    )  # fmt: skip
    for number, design in own.items():
        if record := by_number.get(number):
            symbol = "circle" if record.feasible else "x"
            traces.append(
                trace(design.label, [record.state_bytes], [record.late_loss], [said(record)], mode="markers",
                      marker={"color": design.colour, "size": 13 if design.chosen else 10, "symbol": symbol},
                      zorder=1 + design.chosen, meta=of_design(design, label=design.title, symbol=symbol))
            )  # fmt: skip
    refused = [r for r in records if r.state == "infeasible"]
    if refused:
        traces.append(_cloud("rejected", refused, [0.025] * len(refused), "line-ns-open") | {"yaxis": "y2"})
    sizes = [r.state_bytes for r in done + refused] or [1]
    return {
        "traces": traces,
        "layout": {
            "xaxis": size_axis("state at the target length", min(sizes), max(sizes)),
            "yaxis": axis("late loss, nats per token"),
            "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
        },
    }


def _cloud(name: str, rows: Sequence[Record], at: Sequence[float | None], symbol: str) -> Json:
    """Trials without a colour of their own."""
    look = {"color": FAINT, "size": 7, "symbol": symbol, "opacity": 0.75, "line": {"width": 1.5, "color": FAINT}}
    return trace(name, [r.state_bytes for r in rows], at, [said(r) for r in rows], mode="markers", marker=look,
                 meta={"symbol": symbol})  # fmt: skip


def ladder(summary: Summary, named: Sequence[Design]) -> Json | None:
    """Late loss against training tokens, one line per trial; trials whose lines end early were pruned."""
    climbs = {r.number: climb(r) for r in summary.records if r.copy_of is None}
    climbs = {number: points for number, points in climbs.items() if points}
    if max((len(points) for points in climbs.values()), default=0) < 2:
        return None
    records = {r.number: r for r in summary.records}
    own = {d.row.trial: d for d in named if d.row and d.row.trial in climbs}
    traces = []
    for name, dash, states in (("pruned", "dot", {"pruned"}), ("other trials", "solid", {"complete", "failed"})):
        x: list[float] = []
        y: list[float | None] = []
        texts: list[str] = []
        for number, points in climbs.items():
            if number not in own and records[number].state in states:
                for tokens, loss in points:
                    x.append(tokens)
                    y.append(loss)
                    texts.append(_step(records[number], tokens, loss))
                x.append(points[-1][0])
                y.append(None)
                texts.append("")
        if x:
            traces.append(
                trace(name, x, y, texts, mode="lines+markers", line={"color": FAINT, "width": 1, "dash": dash},
                      marker={"color": FAINT, "size": 4}, opacity=0.6)
            )  # fmt: skip
    for number, design in own.items():
        points = climbs[number]
        traces.append(
            trace(design.label, [tokens for tokens, _ in points], [loss for _, loss in points],
                  [_step(records[number], *point) for point in points], mode="lines+markers",
                  line={"color": design.colour, "dash": design.dash, "width": 3 if design.chosen else 1.8},
                  marker={"color": design.colour, "size": 6}, zorder=1 + design.chosen, meta=of_design(design))
        )  # fmt: skip
    marks = sorted({at for points in climbs.values() for at, _ in points})
    x_axis = length_axis("training tokens", marks[0], marks[-1])
    x_axis |= {"tickvals": marks, "ticktext": [f"{at:,}" for at in marks]}
    return {"traces": traces, "layout": {"xaxis": x_axis, "yaxis": axis("late loss, nats per token")}}


def climb(record: Record) -> list[tuple[int, float]]:
    """The evaluations of a trial as (training tokens, late loss), the last one at the end of its training."""
    points = list(record.rungs)
    if record.late_loss is not None and (outcome := record.outcome) is not None:
        points = [point for point in points if point[0] < outcome.tokens] + [(outcome.tokens, record.late_loss)]
    return points


def _step(record: Record, tokens: int, loss: float) -> str:
    name = record.design or f"trial {record.number}"
    return hover(name, f"layers {record.picture}", f"after {tokens:,} tokens: late loss {loss:.3f}")


def choices(found: Sequence[Importance]) -> Json | None:
    """Share of the variance of the loss between the values of each choice; marks show the share by chance alone."""
    if not found:
        return None
    rows = list(reversed(found))
    texts = [
        hover(each.choice, f"{100 * each.share:.0f}% of the variance of the loss over {each.trials} trials",
              f"chance alone gives up to {100 * each.chance:.0f}%")
        for each in rows
    ]  # fmt: skip
    names = [plain_text(each.choice) for each in rows]
    bars = {
        "type": "bar", "orientation": "h", "y": names, "x": [round(100 * each.share, 2) for each in rows],
        "text": texts, "textposition": "none", "hovertemplate": "%{text}<extra></extra>", "name": "share",
        "marker": {"color": ["@data" if each.share > each.chance else FAINT for each in rows]},
        "meta": {"name": "share of the variance (grey: not above chance)", "symbol": "square"},
    }  # fmt: skip
    chance = {
        "type": "scatter", "mode": "markers", "y": names, "x": [round(100 * each.chance, 2) for each in rows],
        "text": texts, "hovertemplate": "%{text}<extra></extra>", "name": "chance",
        "marker": {"symbol": "line-ns-open", "size": 12, "color": INK, "line": {"width": 2, "color": INK}},
        "meta": {"name": "95% of what chance alone gives", "symbol": "line-ns-open"},
    }  # fmt: skip
    return {
        "traces": [bars, chance],
        "layout": {
            "xaxis": {"title": {"text": "share of the variance of the loss, %"}, "rangemode": "tozero"},
            "yaxis": {"automargin": True, "ticksuffix": " ", "showgrid": False},
            "height": 90 + 26 * len(rows),
            "hovermode": "closest",
        },
    }
