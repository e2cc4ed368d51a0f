"""The figure of a measurement: I(n;n) with fits, local slopes, h_t, two-point information."""

import io
from itertools import pairwise

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2m_design.information import Measurement, TwoPoint
from l2m_design.published import CONTEXTS, PUBLISHED
from l2m_design.report.figures.style import ALSO, DATA, GOOD, GREY, LINES, STYLE, as_svg, log_axes

COLORS = [DATA, ALSO, GOOD, *LINES[3:]]


def measurement_svg(found: list[Measurement], pairs: TwoPoint | None, published: bool) -> str:
    """The figure as SVG text."""
    with matplotlib.rc_context(STYLE):
        return as_svg(_figure(found, pairs, published))


def measurement_bytes(found: list[Measurement], pairs: TwoPoint | None, published: bool, kind: str) -> bytes:
    """The figure as a file: "png" or "svg"."""
    with matplotlib.rc_context({**STYLE, "svg.fonttype": "none"}):
        data = io.BytesIO()
        _figure(found, pairs, published).savefig(
            data, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None
        )
    return data.getvalue()


def _figure(found: list[Measurement], pairs: TwoPoint | None, published: bool) -> Figure:
    losses = [m for m in found if m.losses is not None]
    panels = [name for name, there in (("mi", found), ("slopes", found), ("losses", losses), ("pairs", pairs)) if there]
    rows = (len(panels) + 1) // 2
    drawing = Figure(figsize=(5.4 * min(2, len(panels)), 3.8 * rows), layout="constrained")
    for index, name in enumerate(panels):
        axes = drawing.add_subplot(rows, min(2, len(panels)), index + 1)
        if name == "mi":
            _information(axes, found, published)
        elif name == "slopes":
            _slopes(axes, found)
        elif name == "losses":
            _losses(axes, losses)
        elif pairs:
            _pairs(axes, pairs, published)
    return drawing


def _information(axes: Axes, found: list[Measurement], published: bool) -> None:
    for color, m in zip(COLORS * 3, found, strict=False):
        n, law = m.curve.lengths.astype(np.float64), m.fit.law
        mean, low, high = (np.array([getattr(e, key) for e in m.interval]) for key in ("value", "low", "high"))
        axes.errorbar(n, mean, yerr=[mean - low, high - mean], fmt="o", ms=4, color=color, capsize=2)
        label = m.curve.estimator
        if m.beta:
            grid = np.geomspace(n[0], n[-1], 60)
            band = [law.at(x) for x in grid]
            axes.fill_between(grid, [e.low for e in band], [e.high for e in band], color=color, alpha=0.18, lw=0)
            axes.plot(grid, [e.value for e in band], color=color, lw=1.2, label=f"{label}: {law.formula()}")
        else:
            axes.plot(*m.fit.line, color=color, lw=1.2, ls="--", label=f"{label}: {m.fit.preferred}, no beta")
        if m.compression:
            for control, style in ((m.compression.words, "--"), (m.compression.learnt, ":")):
                values = np.where(control.mean() > 0, control.mean(), np.nan)
                axes.plot(n, values, style, color=GREY, lw=1.2, label=f"control: {control.estimator}")
    if published:
        for style, line in zip(("--", ":"), PUBLISHED, strict=True):
            n = np.array(CONTEXTS) / 2
            axes.plot(n, line.points, ".", color=GREY, ms=5)
            fitted = [line.law.at(x).value for x in n]
            axes.plot(n, fitted, style, color=GREY, lw=1.2, label=f"{line.name}, published: {line.law.formula()}")
    log_axes(axes, "n, tokens on each side", "I(n;n), nats")
    axes.legend(fontsize=7)


def _slopes(axes: Axes, found: list[Measurement]) -> None:
    for color, m in zip(COLORS * 3, found, strict=False):
        n = m.curve.lengths.astype(np.float64)
        middle = np.sqrt(n[1:] * n[:-1])
        value, low, high = (np.array([getattr(s, key) for s in m.fit.local_slopes]) for key in ("value", "low", "high"))
        axes.errorbar(middle, value, yerr=[value - low, high - value], fmt="o-", lw=0.8, ms=4, color=color, capsize=2)
        if m.beta:
            axes.axhspan(m.beta.low, m.beta.high, color=color, alpha=0.15, lw=0)
    axes.axhline(0, color=GREY, lw=0.8)
    axes.axhline(1, color=GREY, lw=0.8)
    axes.set_ylim(-0.3, 1.3)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("n, tokens on each side")
    axes.set_ylabel("local slope; band: beta")


def _losses(axes: Axes, found: list[Measurement]) -> None:
    for color, m in zip(COLORS * 3, found, strict=False):
        assert m.losses is not None
        values = m.losses.by_position
        edges = np.unique(np.geomspace(1, len(values) + 1, 25).astype(int))
        places = [(a + b - 1) / 2 for a, b in pairwise(edges)]
        axes.plot(places, [values[a - 1 : b - 1].mean() for a, b in pairwise(edges)], color=color, lw=1.4)
        if used := m.losses.context_used():
            axes.axvline(used, color=color, lw=0.8, ls=":")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("position t, tokens (dotted: effective context)")
    axes.set_ylabel("h_t, nats")


def _pairs(axes: Axes, pairs: TwoPoint, published: bool) -> None:
    d = pairs.curve.lengths.astype(np.float64)
    mean, low, high = (np.array([getattr(e, key) for e in pairs.interval]) for key in ("value", "low", "high"))
    shown = mean > 0
    floor = float(mean[shown].min()) / 3 if shown.any() else 1e-6
    low = np.maximum(low, floor)
    errors = [np.maximum(mean - low, 0)[shown], (high - mean)[shown]]
    axes.errorbar(d[shown], mean[shown], yerr=errors, fmt="o", ms=4, color=DATA, capsize=2)
    if pairs.alpha:
        grid = np.geomspace(d[0], d[-1], 60)
        law = pairs.prefactor * grid**-pairs.alpha.value + pairs.constant
        axes.plot(grid, np.where(law > floor, law, np.nan), color=DATA, lw=1.2, label=f"alpha = {pairs.alpha}")
    if published:
        for style, line in zip(("--", ":"), PUBLISHED, strict=True):
            a, alpha = line.two_point
            axes.plot(d, a * d**-alpha, style, color=GREY, lw=1.2, label=f"{line.name}, published")
    log_axes(axes, "distance d, tokens", "I2(d), nats (unrelated to beta)")
    if pairs.alpha or published:
        axes.legend(fontsize=7)
