"""Designs: the architectures on the page of a study, each with one title and one colour in all figures."""

from dataclasses import dataclass

from l2m_design.architecture import Architecture
from l2m_design.report.colours import DASHES, LINES
from l2m_design.search.results.values import Finalist, Summary, TrialRow

MOST_DRAWN = 12  # lines of a figure; the page's key shows the others on request


@dataclass(frozen=True)
class Design:
    """An architecture of the page. key: its fingerprint. row: its trial; finalist: its longer training, if any.

    dash: solid, dash or dot, to distinguish designs of the same colour.
    """

    key: str
    title: str
    architecture: Architecture
    colour: str
    dash: str
    chosen: bool
    row: TrialRow | None
    finalist: Finalist | None

    @property
    def state_bytes(self) -> int:
        """State at the target length."""
        found = self.finalist or self.row
        assert found
        return found.state_bytes

    @property
    def label(self) -> str:
        """Its title, marked if it was chosen."""
        return f"chosen: {self.title}" if self.chosen else self.title


def designs(summary: Summary) -> list[Design]:
    """The chosen design, the finalists, the front and the baselines, each architecture once."""
    chosen = summary.chosen
    rows: dict[str, TrialRow] = {}
    titles: dict[str, str] = {}
    drawings: dict[str, Architecture] = {}
    finalists = {row.fingerprint: row for row in summary.finalists}
    for row in ([chosen] if chosen else []) + summary.front + summary.baselines:
        rows.setdefault(row.fingerprint, row)
    for key in [*([chosen.fingerprint] if chosen else []), *finalists, *rows]:
        if finalist := finalists.get(key):
            titles.setdefault(key, finalist.title)
        else:
            titles.setdefault(key, rows[key].design or f"trial {rows[key].trial}: {rows[key].picture}")
        drawings.setdefault(key, (finalist or rows[key]).architecture)
    return [
        Design(
            key=key,
            title=title,
            architecture=drawings[key],
            colour=LINES[number % len(LINES)],
            dash=DASHES[number // len(LINES) % len(DASHES)],
            chosen=chosen is not None and key == chosen.fingerprint,
            row=rows.get(key),
            finalist=finalists.get(key),
        )
        for number, (key, title) in enumerate(titles.items())
    ]
