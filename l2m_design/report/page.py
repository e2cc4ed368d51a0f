"""The report page: a study's summary as one HTML file that needs nothing else."""

from html import escape
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from l2m_design.report import words
from l2m_design.report.figures import study as figures
from l2m_design.report.words import size
from l2m_design.search.results.paired import Gap
from l2m_design.search.results.values import Finalist, Summary, TrialRow
from l2m_design.settings import to_yaml, write_atomically

MOST_DRAWN = 12


def write_page(summary: Summary, path: Path) -> None:
    """Render a study's summary to `path`, atomically."""
    environment = Environment(
        loader=PackageLoader("l2m_design.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"size": size, "estimate": words.estimate, "tokens": words.tokens}
    environment.globals |= {"standing": words.standing}
    text = environment.get_template("study.html.j2").render(
        summary=summary,
        marks=words.MARKS,
        timed=any(row.decode_ms for row in summary.baselines + summary.front),
        outcome=words.outcome(summary),
        rejected=words.rejected(summary),
        context_seconds=_context_seconds(summary),
        caveats=words.caveats(summary),
        figures=_figures(summary),
        settings=to_yaml(summary.settings.public()),
        space=to_yaml(summary.space.plain()),
        drawing=to_yaml(summary.chosen.architecture.plain()) if summary.chosen else None,
    )
    write_atomically(path, text)


def write_figures(summary: Summary, folder: Path) -> list[Path]:
    """Every figure of the page as an SVG file of a folder; answers the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, svg in _figures(summary).items():
        if svg:
            files.append(folder / f"{name}.svg")
            write_atomically(files[-1], svg)
    return files


def at_a_glance(summary: Summary) -> str:
    """The answer and its figure as HTML, for a notebook."""
    figure = _finalists_drawn(summary) if summary.finalists else _figures(summary)["loss"]
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in words.outcome(summary))
    return f"<div>{said}{figure or ''}</div>"


def _figures(summary: Summary) -> dict[str, str | None]:
    """SVG by name; none where there is nothing to draw."""
    demand, measurement = summary.demand, summary.demand.measurement
    chosen = summary.chosen.trial if summary.chosen else None
    shown = _drawn(summary)
    drawings = {name: row.architecture for name, row in shown.items()}
    results = {record.number: record.outcome for record in summary.records}
    profiles = {
        name: result.loss_by_position
        for name, row in shown.items()
        if row.trial is not None and (result := results.get(row.trial))
    }
    drawn: dict[str, str | None] = {
        "profile": figures.losses(profiles) if profiles else None,
        "information": None,
        "reference": None,
        "state": figures.state_and_demand(drawings, demand.demand, measurement.longest if measurement else None),
        "loss": figures.loss_and_state(summary.records, [row.trial for row in summary.front], chosen),
        "excess": _excess(summary.finalists),
        "finalists": _finalists_drawn(summary),
        "gains": figures.context_gains(gains) if (gains := _gains(summary)) else None,
    }
    if measurement:
        drawn["information"] = figures.information(measurement, demand.law)
        if measurement.losses_nats:
            drawn["reference"] = figures.losses({"reference model": measurement.losses_nats}, "h_t, nats")
    return drawn


def _gains(summary: Summary) -> dict[str, dict[int, Gap]]:
    """By model, what the past beyond so many tokens gains: of finalists at the choice's length, else of trials."""
    if summary.finalists:
        length = summary.choice.length
        gains = {row.title: row.lengths[length].context_gain for row in summary.finalists if length in row.lengths}
    else:
        gains = {name: row.context_gain for name, row in _drawn(summary).items()}
    return {name: found for name, found in gains.items() if found}


def _finalists_drawn(summary: Summary) -> str | None:
    """Late loss against state of the finalists, as far as their error is known."""
    choice = summary.choice
    points = {
        row.title: figures.Point(row.state_bytes, at.difference, words.standing(row.name, choice))
        for row in summary.finalists
        if (at := row.lengths.get(choice.length)) and at.difference
    }
    return figures.finalists(points, choice.delta) if points else None


def _context_seconds(summary: Summary) -> float:
    """What measuring the use of context took, on average over models, in seconds."""
    at = [found.context_seconds for row in summary.finalists for found in row.lengths.values()]
    trials = [record.outcome.context_seconds for record in summary.records if record.outcome]
    some = [seconds for seconds in (at or trials) if seconds]
    return sum(some) / len(some) if some else 0.0


def _excess(rows: list[Finalist]) -> str | None:
    """Excess over Bayes by finalist and length, where the corpus knows it."""
    found = {row.name: {length: at.late_excess_bits_by_seed for length, at in row.lengths.items()} for row in rows}
    known = {name: lengths for name, lengths in found.items() if any(lengths.values())}
    return figures.excess(known) if known else None


def _drawn(summary: Summary) -> dict[str, TrialRow]:
    """Chosen first, then the front, then the baselines, each drawing once: the curves of the figures, by name."""
    chosen: list[TrialRow] = [summary.chosen] if summary.chosen else []
    named: dict[str, TrialRow] = {}
    for row in chosen + summary.front + summary.baselines:
        if len(named) < MOST_DRAWN and all(row.fingerprint != seen.fingerprint for seen in named.values()):
            name = row.design or f"trial {row.trial}: {row.picture}"
            named["chosen: " + name if row in chosen else name] = row
    return named
