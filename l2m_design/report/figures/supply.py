"""The figure of state against requirement: nats that models can hold after half the context, and required nats."""

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from l2m_design.condition import Demand
from l2m_design.laws import StateLaw
from l2m_design.report.figures.state import name_ends
from l2m_design.report.figures.style import GREY, INK, LINES, STYLE, as_svg, figure, log_axes

POINTS = 120

Lengths = NDArray[np.int64]


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
        color = LINES[index % len(LINES)]
        if last := band(axes, demand, state, lengths, color):
            ends.append((last, f"{name}, {state.growth}" if state.exponent else name, color))
    if demand.has_level and (last := required(axes, demand, lengths)):
        ends.append((last, "required by the data", INK))
    log_axes(axes, "context L, tokens (dotted: the target)", "nats after L/2 tokens: held (lines), required (dashed)")
    axes.axvline(demand.terms.length, color=GREY, lw=0.8, ls=":")
    name_ends(axes, ends, longest)
    return sheet


def band(
    axes: Axes, demand: Demand, state: StateLaw, lengths: Lengths, color: str, *, style: str = "-", filled: bool = True
) -> float:
    """Draw a state's nats at the central capacity, with a band from the lowest to the highest; return the last."""
    low, value, high = zip(*(demand.held(state, max(1, int(length) // 2)) for length in lengths), strict=True)
    axes.plot(lengths, value, color=color, lw=1.6, ls=style)
    if filled and low != high:
        axes.fill_between(lengths, low, high, color=color, alpha=0.12, lw=0)
    return float(value[-1])


def required(axes: Axes, demand: Demand, lengths: Lengths) -> float:
    """Draw the required nats at the judged end, with a band for their interval; return the last value."""
    nats = [demand.nats(int(length)) for length in lengths]
    axes.plot(lengths, nats, "--", color=INK, lw=1.4)
    if demand.law.draws is not None:
        ends = [demand.law.at(int(length) / 2) for length in lengths]
        low, high = ([max(getattr(each, end), 1e-9) for each in ends] for end in ("low", "high"))
        axes.fill_between(lengths, low, high, color=GREY, alpha=0.25, lw=0)
    return float(nats[-1])
