"""All figures of a study's page by name: as SVG for papers, and as interactive traces."""

from collections.abc import Mapping, Sequence

from l2m_design.estimates import Estimate
from l2m_design.report.designs import MOST_DRAWN, Design
from l2m_design.report.figures import study as static
from l2m_design.report.figures import trials as static_trials
from l2m_design.report.importance import importances
from l2m_design.report.interactive import study as live
from l2m_design.report.interactive import trials as live_trials
from l2m_design.report.words import standing_of
from l2m_design.search.results.values import Summary
from l2m_design.settings import Json


def svgs(summary: Summary, named: Sequence[Design]) -> dict[str, str]:
    """SVG by name of figure, without figures that would be empty."""
    demand, measurement = summary.demand, summary.demand.measurement
    shown, looks = named[:MOST_DRAWN], {d.label: (d.colour, d.dash) for d in named}
    rows = {d.row.trial: d for d in named if d.row and d.row.trial is not None}
    titled = {number: (design.colour, design.label) for number, design in rows.items()}
    drawn: dict[str, str | None] = {
        "finalists": finalists_drawn(summary, named),
        "front": static.loss_and_state(summary.records, [row.trial for row in summary.front], titled),
        "gains": static.context_gains(gains, looks) if (gains := _gains(summary, shown)) else None,
        "excess": static.excess(known, looks) if (known := _excess(named)) else None,
        "state": static.state_and_demand(shown, demand.demand, measurement.longest if measurement else None),
        "information": static.information(measurement, demand.law) if measurement else None,
        "profile": static.losses(found, looks) if (found := _profiles(summary, shown)) else None,
    }
    if measurement and measurement.losses_nats:
        drawn["reference"] = static.losses({"reference model": measurement.losses_nats}, {}, "h_t, nats")
    climbs = {r.number: points for r in summary.records if r.copy_of is None and (points := live_trials.climb(r))}
    if max((len(points) for points in climbs.values()), default=0) > 1:
        drawn["ladder"] = static_trials.ladder(climbs, titled)
    if choices := importances(summary.records):
        drawn["choices"] = static_trials.choices(choices)
    return {name: svg for name, svg in drawn.items() if svg}


def interactive(summary: Summary, named: Sequence[Design]) -> dict[str, Json]:
    """Traces and layout by name of figure, without figures that would be empty."""
    looks = {d.label: live.profile_look(d) for d in named}
    profiles = [(name, losses, looks[name]) for name, losses in _profiles(summary, named).items()]
    found: dict[str, Json | None] = {
        "finalists": live.finalists(summary, named),
        "front": live_trials.front(summary, named),
        "gains": live.gains(summary, named),
        "excess": live.excess(named),
        "state": live.state(summary, named),
        "information": live.information(summary.demand),
        "ladder": live_trials.ladder(summary, named),
        "choices": live_trials.choices(importances(summary.records)),
        "profile": live.profiles(profiles, "loss, nats per token"),
    }
    if (measurement := summary.demand.measurement) and measurement.losses_nats:
        look: Json = {"line": {"color": "@data"}}
        found["reference"] = live.profiles([("reference model", measurement.losses_nats, look)], "h_t, nats")
    return {name: figure for name, figure in found.items() if figure}


def finalists_drawn(summary: Summary, named: Sequence[Design]) -> str | None:
    """Late loss against state of the finalists whose standard error is known."""
    choice = summary.choice
    points = {
        design.label: static.Point(row.state_bytes, at.difference, standing_of(row, summary), design.colour)
        for design in named
        if (row := design.finalist) and (at := row.lengths.get(choice.length)) and at.difference
    }
    return static.finalists(points, choice.delta) if points else None


def _gains(summary: Summary, shown: Sequence[Design]) -> dict[str, Mapping[int, Estimate]]:
    return {design.label: found for design in shown if (found := live.context_gain(summary, design))}


def _profiles(summary: Summary, shown: Sequence[Design]) -> dict[str, list[float]]:
    """Losses by position of the trials of designs."""
    results = {record.number: record.outcome for record in summary.records}
    return {
        design.label: result.loss_by_position
        for design in shown
        if design.row and design.row.trial is not None and (result := results.get(design.row.trial))
    }


def _excess(named: Sequence[Design]) -> dict[str, dict[int, list[float]]]:
    """Excess over the Bayes loss by finalist and length, if the corpus has a known one."""
    found = {
        design.label: {n: at.late_excess_bits_by_seed for n, at in design.finalist.lengths.items()}
        for design in named
        if design.finalist
    }
    return {name: lengths for name, lengths in found.items() if any(lengths.values())}
