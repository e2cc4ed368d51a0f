"""The interactive figures of a study, by name, each as traces and a layout."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from l2m_design.estimates import Estimate
from l2m_design.report.designs import MOST_DRAWN, Design
from l2m_design.report.interactive.parts import (
    FAINT,
    INK,
    axis,
    band,
    bars,
    hover,
    length_axis,
    of_design,
    size_axis,
    trace,
    upright,
)
from l2m_design.report.words import Standing, estimate, size, standing_of
from l2m_design.search.results.values import DemandRow, Summary
from l2m_design.settings import Json

SYMBOLS: dict[Standing, str] = {
    "keeps up": "circle",
    "undecided": "circle-open",
    "worse": "triangle-down",
    "fails the condition": "x",
    "not judged": "circle",
}
POINTS = 40  # of a curve


def finalists(summary: Summary, named: Sequence[Design]) -> Json | None:
    """Late loss on test documents minus the reference's, against state bytes, with 95% intervals."""
    choice, traces, values, sizes = summary.choice, [], [], []
    for design in named:
        row = design.finalist
        if row is None or (at := row.lengths.get(choice.length)) is None or (found := at.difference) is None:
            continue
        stands = standing_of(row, summary)
        said = hover(
            design.label,
            f"layers {row.picture}",
            f"state {size(row.state_bytes)}, growing as t^{row.growth_exponent:.2f}",
            f"late loss - reference {estimate(found, sign=True)}",
            stands,
        )
        look = {
            "color": design.colour,
            "size": 11,
            "symbol": SYMBOLS[stands],
            "line": {"width": 2, "color": design.colour},
        }
        error = bars([found.low], [found.value], [found.high]) | {"color": design.colour}
        traces.append(
            trace(
                design.label,
                [row.state_bytes],
                [found.value],
                [said],
                mode="markers",
                marker=look,
                error_y=error,
                zorder=1 + design.chosen,
                meta=of_design(design, label=design.title, symbol=SYMBOLS[stands], stands=stands),
            )
        )
        values.append(found.value)
        sizes.append(row.state_bytes)
    if not traces:
        return None
    low = min(values)
    near = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": low, "y1": low + choice.delta}
    look = {"fillcolor": "@good", "opacity": 0.12, "line": {"width": 0}, "layer": "below"}
    return {
        "traces": traces,
        "layout": {
            "xaxis": size_axis("state at the target length", min(sizes), max(sizes)) | _wide(sizes),
            "yaxis": axis("late loss − reference, nats per token"),
            "shapes": [near | look],
        },
    }


def _wide(sizes: Sequence[float]) -> Json:
    """Room at both sides of a logarithmic axis."""
    low, high = np.log10(min(sizes)), np.log10(max(sizes))
    room = max(0.3, 0.12 * (high - low))
    return {"range": [round(float(low - room), 3), round(float(high + room), 3)]}


def gains(summary: Summary, named: Sequence[Design]) -> Json | None:
    """Gain from context beyond c tokens against c, with 95% intervals."""
    traces, lengths = [], set[int]()
    for number, design in enumerate(named):
        found: Mapping[int, Estimate] = context_gain(summary, design)
        if not found:
            continue
        at = sorted(found)
        lengths |= set(at)
        points = [found[c] for c in at]
        said = [hover(design.label, f"gain from beyond {c:,} tokens {estimate(found[c], sign=True)}") for c in at]
        ends = [[getattr(point, end) for point in points] for end in ("low", "value", "high")]
        aside = 2.0 ** (0.03 * (number - len(named) / 2))  # error bars beside each other
        traces.append(
            trace(
                design.label,
                [c * aside for c in at],
                ends[1],
                said,
                mode="lines+markers",
                line=_line(design),
                marker={"color": design.colour, "size": 6},
                error_y=bars(*ends) | {"color": design.colour},
                meta=of_design(design),
                zorder=1 + design.chosen,
            )
        )
    if not traces:
        return None
    x = length_axis("past cut to c tokens", min(lengths), max(lengths))
    x |= {"tickvals": sorted(lengths), "ticktext": [f"{c:,}" for c in sorted(lengths)]}
    return {"traces": _few(traces), "layout": {"xaxis": x, "yaxis": axis("gain from beyond c, nats per token")}}


def context_gain(summary: Summary, design: Design) -> Mapping[int, Estimate]:
    """The gains of a finalist at the length of the choice; of a trial if there are no finalists."""
    if summary.finalists:
        at = design.finalist.lengths.get(summary.choice.length) if design.finalist else None
        return at.context_gain if at else {}
    return design.row.context_gain if design.row else {}


def _line(design: Design) -> Json:
    return {"color": design.colour, "dash": design.dash, "width": 3 if design.chosen else 1.8}


def _few(traces: list[Json]) -> list[Json]:
    """Show the first ones; the others are hidden until a click in the legend."""
    return [each if n < MOST_DRAWN else {**each, "visible": "legendonly"} for n, each in enumerate(traces)]


def state(summary: Summary, named: Sequence[Design]) -> Json:
    """Nats that states can hold at L/2 against context length L, beside the nats that the data require."""
    demand, terms = summary.demand.demand, summary.demand.terms
    lengths = np.unique(np.geomspace(terms.shortest, 16 * terms.length, POINTS).astype(int)).tolist()
    lines, bands = [], []
    for design in named:
        held = [demand.held(design.architecture.state, max(1, length // 2)) for length in lengths]
        low, value, high = (list(each) for each in zip(*held, strict=True))
        said = [
            hover(design.label, f"context {length:,} tokens", f"holds {_nats(a)} to {_nats(c)} nats" if a < c else
                  f"holds {_nats(b)} nats")
            for length, (a, b, c) in zip(lengths, held, strict=True)
        ]  # fmt: skip
        lines.append(trace(design.label, lengths, value, said, mode="lines", line=_line(design),
                           meta=of_design(design), zorder=1 + design.chosen))  # fmt: skip
        if design.chosen and low != high:
            bands.append(band(lengths, low, high, design.colour, design=design.key))
    lines = _few(lines)
    if demand.has_level:
        nats = [demand.nats(length) for length in lengths]
        said = [hover("required by the data", f"context {length:,} tokens", f"{_nats(each)} nats")
                for length, each in zip(lengths, nats, strict=True)]  # fmt: skip
        lines.append(trace("required by the data", lengths, nats, said, mode="lines",
                           line={"color": INK, "dash": "dash", "width": 2}))  # fmt: skip
        if demand.law.draws is not None:
            law = [demand.law.at(length / 2) for length in lengths]
            bands.append(band(lengths, [max(e.low, 1e-9) for e in law], [max(e.high, 1e-9) for e in law], FAINT))
    marks = [upright("target", terms.length)]
    if measured := summary.demand.measurement:
        marks.append(upright("measured to", measured.longest, "right" if measured.longest < terms.length else "left"))
    return {
        "traces": bands + lines,
        "layout": {
            "xaxis": length_axis("context length L, tokens", lengths[0], lengths[-1]),
            "yaxis": axis("nats after L/2 tokens", log=True),
            "shapes": [line for line, _ in marks],
            "annotations": [name for _, name in marks],
        },
    }


def _nats(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def information(row: DemandRow) -> Json | None:
    """I(n;n) in nats against n, with intervals, the fitted law and its controls."""
    found = row.measurement
    if found is None:
        return None
    n = found.lengths
    said = [
        hover(found.estimator, f"n = {at:,.0f} {found.unit}", f"I(n;n) = {value:.4g} [{low:.4g}, {high:.4g}] nats")
        for at, value, low, high in zip(n, found.mi_nats, found.mi_low, found.mi_high, strict=True)
    ]
    grid = np.geomspace(n[0], n[-1], POINTS).tolist()
    law = [row.law.at(x) for x in grid]
    curve = [hover("fitted law", f"n = {x:,.0f}", f"{each.value:.4g} nats") for x, each in zip(grid, law, strict=True)]
    floor = max(1e-9, 0.2 * min(value for value in found.mi_nats if value > 0)) if max(found.mi_nats) > 0 else 1e-9
    traces = [
        band(grid, [max(e.low, floor) for e in law], [max(e.high, floor) for e in law], "@data"),
        trace(row.law.formula(), grid, [e.value for e in law], curve, mode="lines", line={"color": "@data"}),
        trace(found.estimator, n, [value if value > 0 else None for value in found.mi_nats], said, mode="markers",
              marker={"color": INK, "size": 7}, meta={"symbol": "circle"},
              error_y=bars(found.mi_low, found.mi_nats, found.mi_high) | {"color": INK}),
    ]  # fmt: skip
    for name, dash, control in (
        ("words shuffled", "dash", found.compression and found.compression.shuffled),
        ("another document", "dot", found.compression and found.compression.another_document),
    ):
        if control:
            values = [e.value if e.value > 0 else None for e in control]
            texts = [hover(f"control: {name}", f"{e.value:.4g} nats") for e in control]
            traces.append(trace(f"control: {name}", n, values, texts, mode="lines+markers",
                                line={"color": FAINT, "dash": dash}, marker={"color": FAINT, "size": 4}))  # fmt: skip
    x = length_axis(f"n, {found.unit} on each side", n[0], n[-1])
    return {"traces": traces, "layout": {"xaxis": x, "yaxis": axis("I(n;n), nats", log=True)}}


def profiles(curves: Sequence[tuple[str, Sequence[float], Json]], y: str) -> Json | None:
    """Losses against position, averaged over bins that grow with position; each as (name, losses, look)."""
    traces, longest = [], 1
    for name, losses, look in curves:
        values = np.array(losses)
        longest = max(longest, len(values))
        edges = np.unique(np.geomspace(1, len(values) + 1, 25).astype(int))
        at = [(a + b - 1) / 2 for a, b in pairwise(edges)]
        means = [float(values[a - 1 : b - 1].mean()) for a, b in pairwise(edges)]
        said = [hover(name, f"position {x:,.0f}", f"{mean:.3f} nats") for x, mean in zip(at, means, strict=True)]
        traces.append(trace(name, at, means, said, mode="lines", **look))
    if not traces:
        return None
    x = length_axis("position in the window, tokens", 1, longest)
    return {"traces": _few(traces), "layout": {"xaxis": x, "yaxis": axis(y)}}


def excess(named: Sequence[Design]) -> Json | None:
    """Excess over Bayes in bits per fact against context length; means over seeds, seeds in the hover label."""
    traces, lengths = [], set[int]()
    for design in named:
        found = {n: at.late_excess_bits_by_seed for n, at in sorted(design.finalist.lengths.items())} if (
            design.finalist) else {}  # fmt: skip
        known = {n: seeds for n, seeds in found.items() if seeds}
        if known:
            lengths |= set(known)
            said = [hover(design.label, f"{n:,} tokens", f"bits per fact, by seed: {_listed(seeds)}")
                    for n, seeds in known.items()]  # fmt: skip
            means = [float(np.mean(seeds)) for seeds in known.values()]
            traces.append(trace(design.label, list(known), means, said, mode="lines+markers", line=_line(design),
                                marker={"color": design.colour, "size": 7}, meta=of_design(design)))  # fmt: skip
    if not traces:
        return None
    x = length_axis("context length, tokens", min(lengths), max(lengths))
    return {"traces": _few(traces), "layout": {"xaxis": x, "yaxis": axis("late excess, bits per fact", log=True)}}


def _listed(seeds: Sequence[float]) -> str:
    return ", ".join(f"{each:.4f}" for each in seeds)


def profile_look(design: Design) -> Json:
    """How a design's curve looks."""
    return {"line": _line(design), "meta": of_design(design), "zorder": 1 + design.chosen}
