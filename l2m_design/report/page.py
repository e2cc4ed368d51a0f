"""The report page: a study's summary as one HTML file that needs nothing else."""

import json
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from l2m_design.architecture import Architecture
from l2m_design.errors import BadInput
from l2m_design.laws import PowerLaw
from l2m_design.report import words
from l2m_design.report.figures import study as figures
from l2m_design.settings import read_text, to_yaml, write_atomically
from l2m_design.terms import Terms

__all__ = ["UndefinedError", "at_a_glance", "load_summary", "write_page"]
MOST_DRAWN = 12


def load_summary(place: str | Path) -> dict[str, Any]:
    """A study's summary from study.json or its folder. Raises BadInput when there is none."""
    path = Path(place)
    path = path / "study.json" if path.is_dir() else path
    text = read_text(path)
    try:
        summary = json.loads(text)
        missing = {
            "study",
            "chosen",
            "front",
            "baselines",
            "demand",
            "records",
            "settings",
            "choice",
            "finalists",
            "tradeoff",
        } - set(summary)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path}: not a study's summary: {error}") from None
    if missing:
        raise BadInput(f"{path}: not a study's summary: no '{min(missing)}'")
    return dict(summary)


def write_page(summary: dict[str, Any], path: Path) -> None:
    """Render a study's summary to `path`, atomically."""
    environment = Environment(
        loader=PackageLoader("l2m_design.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"size": words.size, "estimate": words.estimate, "tokens": words.tokens}
    environment.globals |= {"standing": words.standing}
    text = environment.get_template("study.html.j2").render(
        summary=summary,
        marks=words.MARKS,
        timed=any(row.get("decode_ms") for row in summary["baselines"] + summary["front"]),
        outcome=words.outcome(summary),
        context_seconds=_context_seconds(summary),
        caveats=words.caveats(summary),
        figures=_figures(summary),
        settings=to_yaml(summary["settings"]),
        space=to_yaml(summary["space"]),
        drawing=to_yaml(summary["chosen"]["architecture"]) if summary["chosen"] else None,
    )
    write_atomically(path, text)


def at_a_glance(summary: dict[str, Any]) -> str:
    """The answer and its figure as HTML, for a notebook."""
    figure = _finalists_drawn(summary) if summary["finalists"] else _figures(summary)["loss"]
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in words.outcome(summary))
    return f"<div>{said}{figure or ''}</div>"


def _figures(summary: dict[str, Any]) -> dict[str, str | None]:
    """SVG by name; none where there is nothing to draw."""
    demand = summary["demand"]
    law, terms = PowerLaw.of_plain(demand["law"]), Terms.parse(demand["terms"], "condition")
    measured = 2 * demand["measurement"]["lengths"][-1] if demand["measurement"] else None
    chosen = summary["chosen"]["trial"] if summary["chosen"] else None
    shown = _finalists(summary)
    drawings = {name: Architecture.parse(row["architecture"], name) for name, row in shown.items()}
    by_trial = {record["number"]: record for record in summary["records"]}
    profiles = {
        name: by_trial[row["trial"]]["result"]["loss_by_position"]
        for name, row in shown.items()
        if row["trial"] in by_trial and by_trial[row["trial"]]["result"]
    }
    drawn: dict[str, str | None] = {
        "profile": figures.losses(profiles) if profiles else None,
        "information": None,
        "reference": None,
        "state": figures.state_and_demand(drawings, law, terms, demand["has_level"], measured),
        "loss": figures.loss_and_state(summary["records"], [row["trial"] for row in summary["front"]], chosen),
        "excess": _excess(summary["finalists"]),
        "finalists": _finalists_drawn(summary),
        "gains": figures.context_gains(gains) if (gains := _gains(summary)) else None,
    }
    if demand["measurement"]:
        drawn["information"] = figures.information(demand["measurement"], law)
        if demand["measurement"]["losses_nats"]:
            drawn["reference"] = figures.losses({"reference model": demand["measurement"]["losses_nats"]}, "h_t, nats")
    return drawn


def _gains(summary: dict[str, Any]) -> dict[str, dict[int, dict[str, float]]]:
    """By model, what the past beyond so many tokens gains: of finalists at the choice's length, else of trials."""
    if summary["finalists"]:
        at = str(summary["choice"]["length"])
        rows = {_named(row): row["lengths"][at] for row in summary["finalists"] if at in row["lengths"]}
    else:
        rows = _finalists(summary)
    gains = {name: {int(c): g for c, g in row["context_gain"].items()} for name, row in rows.items()}
    return {name: found for name, found in gains.items() if found}


def _named(row: dict[str, Any]) -> str:
    """A finalist's name, with its layer pattern where it is a trial's number."""
    return row["name"] if row["known"] else f"{row['name']}: {row['picture']}"


def _finalists_drawn(summary: dict[str, Any]) -> str | None:
    """Late loss against state of the finalists, as far as their error is known."""
    choice, at = summary["choice"], str(summary["choice"]["length"])
    rows = {
        _named(row): {
            "state_bytes": row["state_bytes"],
            "difference": row["lengths"][at]["difference"],
            "verdict": words.standing(row["name"], choice),
        }
        for row in summary["finalists"]
        if at in row["lengths"] and row["lengths"][at]["difference"]
    }
    return figures.finalists(rows, choice["delta"]) if rows else None


def _context_seconds(summary: dict[str, Any]) -> float:
    """What measuring the use of context took, on average over models, in seconds."""
    at = [found.get("context_seconds", 0.0) for row in summary["finalists"] for found in row["lengths"].values()]
    trials = [(record["result"] or {}).get("context_seconds", 0.0) for record in summary["records"]]
    some = [seconds for seconds in (at or trials) if seconds]
    return sum(some) / len(some) if some else 0.0


def _excess(rows: list[dict[str, Any]]) -> str | None:
    """Excess over Bayes by finalist and length, where the corpus knows it."""
    found = {
        row["name"]: {int(length): at["late_excess_bits_by_seed"] for length, at in row["lengths"].items()}
        for row in rows
    }
    known = {name: lengths for name, lengths in found.items() if any(lengths.values())}
    return figures.excess(known) if known else None


def _finalists(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Chosen first, then the front, then the baselines, each drawing once: the curves of the figures, by name."""
    chosen = [summary["chosen"]] if summary["chosen"] else []
    named: dict[str, dict[str, Any]] = {}
    for row in chosen + summary["front"] + summary["baselines"]:
        if len(named) < MOST_DRAWN and all(row["fingerprint"] != seen["fingerprint"] for seen in named.values()):
            name = row["design"] or f"trial {row['trial']}: {row['picture']}"
            named["chosen: " + name if row in chosen else name] = row
    return named
