"""The figures of a study, as self-contained SVG text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np

from l2m_design.condition import Demand
from l2m_design.estimates import Estimate, Floats
from l2m_design.information.measured import Measured
from l2m_design.laws import PowerLaw
from l2m_design.report.designs import Design
from l2m_design.report.figures.style import (
    BAD,
    DATA,
    GOOD,
    GREY,
    INK,
    STYLE,
    as_svg,
    figure,
    legend_below,
    literal,
    log_axes,
    name_points,
)
from l2m_design.report.figures.supply import band, required
from l2m_design.report.words import Standing, size
from l2m_design.search.record import Record

STYLES = {"solid": "-", "dash": "--", "dot": ":"}


def information(measurement: Measured, law: PowerLaw) -> str:
    """I(n;n) in nats against n, with intervals and the fitted law with its band."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure()
        n = np.array(measurement.lengths)
        mean, low, high = (np.array(nats) for nats in (measurement.mi_nats, measurement.mi_low, measurement.mi_high))
        grid = np.geomspace(n[0], n[-1], 60)
        band = [law.at(x) for x in grid]
        axes.fill_between(grid, [e.low for e in band], [e.high for e in band], color=DATA, alpha=0.18, lw=0)
        axes.plot(
            grid,
            [e.value for e in band],
            color=DATA,
            label=law.formula(),
        )
        axes.errorbar(
            n,
            mean,
            yerr=[mean - low, high - mean],
            fmt="o",
            ms=4,
            color=INK,
            capsize=2,
            label=measurement.estimator,
        )
        if controls := measurement.compression:
            for name, control, style in (
                ("words shuffled", controls.shuffled, "--"),
                ("another document", controls.another_document, ":"),
            ):
                values = [estimate.value if estimate.value > 0 else np.nan for estimate in control]
                axes.plot(n, values, style, color=GREY, lw=1.2, label=f"control: {name}")
        log_axes(axes, "n, tokens on each side", "I(n;n), nats")
        legend_below(drawing)
        return as_svg(drawing)


Looks = Mapping[str, tuple[str, str]]  # colour and dash by name


def losses(by_position: Mapping[str, list[float]], looks: Looks, label: str = "loss, nats per token") -> str:
    """Position-wise losses against position, averaged over bins that grow with position."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(4.4)
        for name, values in by_position.items():
            color, style = looks.get(name, (INK, "solid"))
            values_ = np.array(values)
            edges = np.unique(np.geomspace(1, len(values_) + 1, 25).astype(int))
            places = [(a + b - 1) / 2 for a, b in pairwise(edges)]
            means = [values_[a - 1 : b - 1].mean() for a, b in pairwise(edges)]
            axes.plot(places, means, color=color, ls=STYLES[style], label=literal(name), lw=1.4)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("position in the window, tokens")
        axes.set_ylabel(label)
        legend_below(drawing)
        return as_svg(drawing)


def state_and_demand(shown: Sequence[Design], demand: Demand, measured: float | None) -> str:
    """Nats that states can hold at L/2 against context length L, beside the nats that the data require.

    Lines are central capacities; the band of the chosen design reaches from the lowest to the highest. measured: the
    longest context, in tokens, on which the law was measured.
    """
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(5.0)
        terms = demand.terms
        lengths = np.unique(np.geomspace(terms.shortest, 16 * terms.length, 60).astype(int))
        for each in shown:
            color, style = each.colour, STYLES[each.dash]
            band(axes, demand, each.architecture.state, lengths, color, style=style, filled=each.chosen)
            axes.plot([], [], color=color, ls=style, lw=1.6, label=literal(each.label))
        if demand.has_level:
            required(axes, demand, lengths)
            axes.plot([], [], color=INK, lw=1.4, ls="--", label="required by the data")
        marked = {"target": terms.length} | ({"measured to": measured} if measured else {})
        for word, length in marked.items():
            axes.axvline(length, color=GREY, lw=0.8)
            axes.annotate(
                word,
                (length, 1),
                xycoords=("data", "axes fraction"),
                fontsize=8,
                color=GREY,
                xytext=(3, -10),
                textcoords="offset points",
            )
        log_axes(axes, "context length L, tokens", "nats: held at L/2 (lines), required (dashed)")
        legend_below(drawing)
        return as_svg(drawing)


def loss_and_state(records: Sequence[Record], front: Sequence[int | None], named: Mapping[int, tuple[str, str]]) -> str:
    """Late loss against state bytes at the target, the front joined. named: colour and title of designs, by trial."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(5.0)
        done = [r for r in records if r.state == "complete" and r.copy_of is None]
        line = [next(r for r in done if r.number == number) for number in front]
        axes.plot([r.state_bytes for r in line], [r.late_loss or 0.0 for r in line], color=GREY, lw=1, alpha=0.7)
        others = [r for r in done if r.number not in named]
        for feasible, marker, label in ((True, "o", "other trials"), (False, "x", "others, condition not met")):
            rows = [r for r in others if r.feasible == feasible]
            if rows:
                sizes, losses_ = [r.state_bytes for r in rows], [r.late_loss or 0.0 for r in rows]
                axes.plot(sizes, losses_, marker, color=GREY, ms=4.5, label=label)
        for r in done:
            if found := named.get(r.number):
                color, title = found
                marker = "o" if r.feasible else "x"
                axes.plot([r.state_bytes], [r.late_loss or 0.0], marker, color=color, ms=7, label=literal(title))
        rejected = [r.state_bytes for r in records if r.state == "infeasible"]
        if rejected:
            foot = np.full(len(rejected), 0.02)
            at = axes.get_xaxis_transform()
            axes.plot(rejected, foot, "|", color=BAD, ms=9, alpha=0.6, transform=at, label="rejected")
        axes.set_xscale("log", base=2)
        axes.set_xlabel("state at the target length, bytes (x: the condition is not met)")
        axes.set_ylabel("late loss, nats per token")
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: size(x)))
        legend_below(drawing)
        return as_svg(drawing)


@dataclass(frozen=True)
class Point:
    """A finalist: state_bytes at the target length, late loss minus the reference's, its standing, its colour."""

    state_bytes: int
    difference: Estimate
    standing: Standing
    colour: str


def finalists(points: dict[str, Point], delta: float) -> str:
    """Late loss on test documents, minus the reference's, against state bytes; bars are 95% intervals, paired.

    The band marks losses within delta of the lowest.
    """
    marks: dict[Standing, dict[str, Any]]
    marks = {"keeps up": {"marker": "o"}, "undecided": {"marker": "o", "mfc": "white"}, "worse": {"marker": "v"},
             "fails the condition": {"marker": "x"}, "not judged": {"marker": "o"}}  # fmt: skip
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(4.4)
        lowest = min(point.difference.value for point in points.values())
        near = f"within {delta:g} nats of the lowest"
        axes.axhspan(lowest, lowest + delta, color=GOOD, alpha=0.10, lw=0, label=near)
        for standing, look in marks.items():
            own = [point for point in points.values() if point.standing == standing]
            for point in own:
                value, low, high = _ends([point.difference])
                bars = [value - low, high - value]
                axes.errorbar([point.state_bytes], value, yerr=bars, ms=7, capsize=2, color=point.colour, **look)
            if own:
                axes.plot([], [], ls="", color=INK, ms=7, label=standing, **look)
        axes.set_xscale("log", base=2)
        axes.margins(x=0.18, y=0.25)
        axes.set_xlabel("state at the target length, bytes")
        axes.set_ylabel("late loss - reference, nats per token")
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: size(x)))
        legend_below(drawing, 3)
        name_points(axes, [(n, at.state_bytes, at.difference.low, at.difference.high, INK) for n, at in points.items()])
        return as_svg(drawing)


def _ends(found: Sequence[Estimate]) -> tuple[Floats, Floats, Floats]:
    """Values, low ends and high ends."""
    return np.array([e.value for e in found]), np.array([e.low for e in found]), np.array([e.high for e in found])


def context_gains(gains: Mapping[str, Mapping[int, Estimate]], looks: Looks) -> str:
    """Gain from context beyond c tokens, in nats per token, against c; bars are 95% intervals."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(4.4)
        for number, (name, found) in enumerate(gains.items()):
            at = np.array(sorted(found)) * 2.0 ** (0.04 * (number - len(gains) / 2))  # beside each other
            value, low, high = _ends([found[c] for c in sorted(found)])
            color, style = looks.get(name, (INK, "solid"))
            bars = [value - low, high - value]
            axes.errorbar(at, value, yerr=bars, color=color, ls=STYLES[style], lw=1.4, capsize=2, label=literal(name))
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("past cut to c tokens")
        axes.set_ylabel("gain from beyond c, nats per token")
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
        legend_below(drawing)
        return as_svg(drawing)


def excess(by_length: Mapping[str, Mapping[int, list[float]]], looks: Looks) -> str:
    """Excess over the Bayes loss in bits per fact against context length; dots are seeds, lines join their means."""
    with matplotlib.rc_context(STYLE):
        drawing, axes = figure(5.0)
        for name, lengths in by_length.items():
            color, style = looks.get(name, (INK, "solid"))
            at = sorted(lengths)
            axes.plot(at, [np.mean(lengths[x]) for x in at], color=color, ls=STYLES[style], lw=1.5, label=literal(name))
            for x in at:
                axes.plot([x] * len(lengths[x]), lengths[x], ".", ms=4, color=color, alpha=0.6)
        log_axes(axes, "context length, tokens", "late excess, bits per fact")
        legend_below(drawing)
        return as_svg(drawing)
