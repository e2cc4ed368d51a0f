"""Parts of a plotly figure: text that stays text, axes, traces of a design."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from l2m_design.report.designs import Design
from l2m_design.report.scales import symlog, symlog_marks
from l2m_design.report.words import size
from l2m_design.settings import Json

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
WIDE = 48  # characters of a line of a hover label that may be long
INK, FAINT = "@ink", "@faint"  # colours of the page's theme, which its script looks up


def plain_text(text: str) -> str:
    """Text that plotly shows literally: tags, entities and %{field} in it have no effect."""
    return escape(" ".join(text.split()), quote=False).replace("%", "&#37;")


def hover(*lines: str) -> str:
    """Lines of a hover label, the first one bold; each is text."""
    first, *rest = (plain_text(line) for line in lines)
    return "<br>".join([f"<b>{first}</b>", *rest])


def trace(name: str, x: Sequence[float], y: Sequence[float | None], texts: Sequence[str], **more: Any) -> Json:
    """A scatter trace whose points show `texts` (made by `hover`) under the pointer."""
    return {
        "type": "scatter",
        "x": [_short(value) for value in x],
        "y": [_short(value) for value in y],
        "text": list(texts),
        "hovertemplate": "%{text}<extra></extra>",
        "name": plain_text(name),
        "meta": {"name": name} | more.pop("meta", {}),
        **more,
    }


def of_design(design: Design, **meta: Any) -> Json:
    """The meta of a trace of a design: its key and names."""
    return {"design": design.key, "name": design.label, "shown": plain_text(design.title), **meta}


def band(x: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str, **meta: Any) -> Json:
    """A translucent area between two lines, without interaction."""
    both = [*x, *reversed(x)]
    return {
        "type": "scatter",
        "x": [_short(value) for value in both],
        "y": [_short(value) for value in (*high, *reversed(low))],
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": colour,
        "opacity": 0.18,
        "hoverinfo": "skip",
        "meta": {"key": False, **meta},
    }


def bars(low: Sequence[float], value: Sequence[float], high: Sequence[float]) -> Json:
    """Error bars of 95% intervals."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [_short(top - middle) for top, middle in zip(high, value, strict=True)],
        "arrayminus": [_short(middle - bottom) for bottom, middle in zip(low, value, strict=True)],
        "thickness": 1.5,
        "width": 3,
    }


def size_axis(title: str, low: float, high: float) -> Json:
    """A logarithmic axis of bytes, named at powers of four."""
    marks = [float(4**power) for power in range(24) if low / 4 <= 4**power <= high * 4]
    return {"type": "log", "title": {"text": title}, "tickvals": marks, "ticktext": [size(mark) for mark in marks]}


def length_axis(title: str, low: float, high: float) -> Json:
    """A logarithmic axis of tokens, named at powers of two."""
    marks = [2**power for power in range(40) if low / 1.01 <= 2**power <= high * 1.01]
    return {"type": "log", "title": {"text": title}, "tickvals": marks, "ticktext": [f"{mark:,}" for mark in marks]}


def axis(title: str, log: bool = False) -> Json:
    """An axis of plain or logarithmic numbers."""
    if log:
        powers = range(-12, 16)
        names = [f"{10.0**power:,.6g}" if -4 <= power <= 4 else f"10{str(power).translate(RAISED)}" for power in powers]
        return {
            "type": "log",
            "title": {"text": title},
            "tickvals": [10.0**power for power in powers],
            "ticktext": names,
        }
    return {"title": {"text": title}}


def symlog_axis(title: str, values: Sequence[float], linear: float) -> Json:
    """An axis of what `symlog` gives for values up to these, named by the values themselves."""
    marks = symlog_marks(values, linear)
    names = [f"{mark:g}".replace("-", "\u2212") for mark in marks]
    return {"title": {"text": title}, "tickvals": [_short(symlog(mark, linear)) for mark in marks], "ticktext": names}


def upright(words: str, at: float, side: str = "left") -> tuple[Json, Json]:
    """A thin vertical line with a name at its head: (shape, annotation). at: on a logarithmic axis.

    side: of the name that touches the line.
    """
    line = {"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": {"width": 1, "color": FAINT}}
    name = {"x": math.log10(at), "y": 1, "yref": "paper", "text": plain_text(words), "showarrow": False}
    return line, name | {"xanchor": side, "yanchor": "top", "font": {"color": FAINT, "size": 12}}


def _short(value: float | None) -> float | None:
    """Round to six digits, which are enough for a figure."""
    return None if value is None else float(f"{value:.6g}")
