"""The figure of supply over demand: elements that models hold after half the context, over those that data ask for."""

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2m_design.condition import Demand
from l2m_design.laws import StateLaw
from l2m_design.report.figures.state import name_ends
from l2m_design.report.figures.style import GREY, INK, LINES, STYLE, as_svg, figure, log_axes

POINTS = 120


def supply_svg(states: Mapping[str, StateLaw], demand: Demand, longest: int) -> str:
    """The figure as SVG text, to stand in a page."""
    with matplotlib.rc_context(STYLE):
        return as_svg(_figure(states, demand, longest))


def supply_bytes(states: Mapping[str, StateLaw], demand: Demand, longest: int, kind: str) -> bytes:
    """The figure as a file: "png" or "svg"."""
    with matplotlib.rc_context({**STYLE, "svg.fonttype": "none"}):
        data = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        _figure(states, demand, longest).savefig(data, format=kind, dpi=160, metadata=metadata)
    return data.getvalue()


def _figure(states: Mapping[str, StateLaw], demand: Demand, longest: int) -> Figure:
    sheet, axes = figure(height=5.2, width=9.6)
    lengths = np.unique(np.geomspace(min(demand.terms.shortest, longest // 2), longest, POINTS).astype(int))
    ends: list[tuple[float, str, str]] = []
    for index, (name, state) in enumerate(states.items()):
        color, held = LINES[index % len(LINES)], [state.elements(max(1, int(each) // 2)) for each in lengths]
        axes.plot(lengths, held, color=color, lw=1.6)
        if held[-1]:
            ends.append((held[-1], f"{name}, t^{state.exponent:.2g}", color))
    if demand.has_level:
        ends += _demand(axes, demand, [int(each) for each in lengths])
    log_axes(axes, "context L, tokens (dotted: the target)", "elements after L/2 tokens: held (lines), asked (dashed)")
    axes.axvline(demand.terms.length, color=GREY, lw=0.8, ls=":")
    name_ends(axes, ends, longest)
    return sheet


def _demand(axes: Axes, demand: Demand, lengths: list[int]) -> list[tuple[float, str, str]]:
    """Two lines, under the assumed nats per element and by the hard bound, with bands where the law has one."""
    ends = []
    for nats, style, color, word in (
        (
            demand.terms.nats_per_element,
            "--",
            INK,
            f"asked: {demand.terms.nats_per_element:g} nats an element (assumed)",
        ),
        (demand.hard_nats, "-.", GREY, f"asked: {demand.hard_nats:.1f} nats an element (hard bound)"),
    ):
        asked = [demand.elements(length, nats) for length in lengths]
        axes.plot(lengths, asked, style, color=color, lw=1.4)
        if demand.law.draws is not None:
            band = [demand.law.at(length / 2) for length in lengths]
            low, high = ([max(getattr(each, end), 1e-9) / nats for each in band] for end in ("low", "high"))
            axes.fill_between(lengths, low, high, color=GREY, alpha=0.25, lw=0)
        if asked[-1] > 0:
            ends.append((asked[-1], word, color))
    return ends
