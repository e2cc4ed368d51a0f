"""The report page: the summary of a study as one self-contained HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from l2m_design.architecture import Architecture
from l2m_design.report import words
from l2m_design.report.colours import MIXERS
from l2m_design.report.designs import Design, designs
from l2m_design.report.drawn import finalists_drawn, interactive, svgs
from l2m_design.report.picture import rendered, save_figures
from l2m_design.report.words import size
from l2m_design.search.results.values import Summary
from l2m_design.settings import to_yaml, write_atomically


def write_page(summary: Summary, path: Path) -> None:
    """Render a study's summary to `path`, atomically."""
    named = designs(summary)
    text = rendered(
        "study.html.j2",
        {
            "summary": summary,
            "marks": words.MARKS,
            "size": size,
            "estimate": words.estimate,
            "tokens": words.tokens,
            "standing": words.standing,
            "timed": any(row.decode_ms for row in summary.baselines + summary.front),
            "outcome": words.outcome(summary),
            "headline": words.headline(summary),
            "facts": words.facts(summary),
            "rejected": words.rejected(summary),
            "context_seconds": _context_seconds(summary),
            "caveats": words.caveats(summary),
            "designs": {design.key: design for design in named},
            "strips": {design.key: strip(design.architecture) for design in named},
            "mixers": mixers(named),
            "svgs": svgs(summary, named),
            "figures": interactive(summary, named),
            "settings": to_yaml(summary.settings.public()),
            "space": to_yaml(summary.space.plain()),
            "drawing": to_yaml(summary.chosen.architecture.plain()) if summary.chosen else None,
        },
    )
    write_atomically(path, text)


def write_figures(summary: Summary, folder: Path) -> list[Path]:
    """Write every figure of the page as an SVG file to a folder; return the files."""
    return save_figures(svgs(summary, designs(summary)), folder)


def at_a_glance(summary: Summary) -> str:
    """The answer and its figure as HTML, for a notebook."""
    named = designs(summary)
    figure = finalists_drawn(summary, named) if summary.finalists else svgs(summary, named)["front"]
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in words.outcome(summary))
    return f"<div>{said}{figure or ''}</div>"


@dataclass(frozen=True)
class Layer:
    """A cell of a layer strip: its letter, its colour, and what it is in words."""

    letter: str
    colour: str
    said: str


def strip(architecture: Architecture) -> list[Layer]:
    """The layers of an architecture, one cell each."""
    cells = []
    for number, (letter, layer) in enumerate(zip(architecture.picture.split(), architecture.layers, strict=True)):
        word, colour = MIXERS[letter.upper()]
        options = ", ".join(
            f"{name} {value}" for name, value in layer.plain().items() if name != "kind" and value is not None
        )
        cells.append(Layer(letter, colour, f"layer {number}: {word} ({options})"))
    return cells


def mixers(named: Sequence[Design]) -> dict[str, tuple[str, str]]:
    """Word and colour by letter, of the mixer types that the page shows."""
    seen = {letter.upper() for design in named for letter in design.architecture.picture.split()}
    return {letter: MIXERS[letter] for letter in MIXERS if letter in seen}


def _context_seconds(summary: Summary) -> float:
    """Seconds per model that the measurement of the use of context took, on average."""
    at = [found.context_seconds for row in summary.finalists for found in row.lengths.values()]
    trials = [record.outcome.context_seconds for record in summary.records if record.outcome]
    some = [seconds for seconds in (at or trials) if seconds]
    return sum(some) / len(some) if some else 0.0
