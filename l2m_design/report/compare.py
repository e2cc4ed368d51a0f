"""Two studies compared: their answers, their finalists in one figure, and the settings that differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from l2m_design.estimates import Estimate
from l2m_design.report import words
from l2m_design.report.colours import SIDES
from l2m_design.report.designs import Design, designs
from l2m_design.report.figures import compared as static
from l2m_design.report.interactive import compared as live
from l2m_design.report.page import Layer, mixers, strip
from l2m_design.report.picture import rendered, save_figures
from l2m_design.report.words import estimate, size
from l2m_design.search.results.values import Summary
from l2m_design.settings import Json, write_atomically


@dataclass(frozen=True)
class Side:
    """A study of a comparison: its name on the page, what it found, and its colour."""

    name: str
    summary: Summary
    colour: str

    @property
    def designs(self) -> list[Design]:
        """Its finalists, or where there are none its front and baselines, with a loss on test documents."""
        known = designs(self.summary)
        own = [each for each in known if each.finalist] or known
        return [each for each in own if loss(self.summary, each)]

    @property
    def strip(self) -> list[Layer]:
        """The layers of its chosen design."""
        return strip(self.summary.chosen.architecture) if self.summary.chosen else []


def sides(first: Summary, second: Summary) -> tuple[Side, Side]:
    """Both studies; a number distinguishes two of the same name."""
    same = first.study == second.study
    names = [f"{each.study} ({n})" if same else each.study for n, each in enumerate((first, second), 1)]
    return Side(names[0], first, SIDES[0]), Side(names[1], second, SIDES[1])


def loss(summary: Summary, design: Design) -> Estimate | None:
    """Late loss on test documents: of a finalist at the choice's length, else of the trial; nats per token."""
    if design.finalist:
        at = design.finalist.lengths.get(summary.choice.length)
        return at.test_interval if at else None
    return design.row.test_loss if design.row else None


def reasons(first: Summary, second: Summary) -> list[str]:
    """Why the losses of the two cannot be compared; none if they can."""
    found = []
    if first.corpus.fingerprint != second.corpus.fingerprint:
        found.append(f"the corpora differ ({first.corpus.name}, {second.corpus.name})")
    if first.choice.length != second.choice.length:
        found.append(f"the windows differ ({first.choice.length:,} and {second.choice.length:,} tokens)")
    if first.choice.recipe.tokens != second.choice.recipe.tokens:
        found.append(f"the training tokens differ ({first.choice.recipe.tokens:,} and {second.choice.recipe.tokens:,})")
    return found


def outcome(first: Summary, second: Summary) -> list[str]:
    """The comparison in sentences."""
    said = []
    for side in sides(first, second):
        chosen = side.summary.chosen
        held = f": {chosen.picture}, {size(chosen.state_bytes)} of state" if chosen else ""
        at = side.summary.demand.terms.length
        tested = f", late loss {estimate(chosen.test_loss)} nats per token" if chosen and chosen.test_loss else ""
        said.append(f"{side.name}: {words.headline(side.summary)}{held} at {at:,} tokens{tested}.")
    one, two = first.chosen, second.chosen
    if one and two and first.demand.terms.length == second.demand.terms.length:
        ratio, names = two.state_bytes / one.state_bytes, [side.name for side in sides(first, second)]
        said.append(f"The chosen state of {names[1]} is {ratio:.3g} times that of {names[0]}.")
    if why := reasons(first, second):
        said.append(f"Losses of the two studies cannot be compared: {'; '.join(why)}.")
    else:
        said.append("Both used the same corpus, window and training tokens. Their losses are not paired by document.")
    return said


def set_differently(first: Summary, second: Summary) -> list[tuple[str, str, str]]:
    """Settings that differ, as (dotted key, value, value)."""
    one, two = (_flat(each.settings.public()) | _flat(each.space.plain(), "space.") for each in (first, second))
    keys = dict.fromkeys([*one, *two])
    return [(key, one.get(key, "-"), two.get(key, "-")) for key in keys if one.get(key) != two.get(key)]


def _flat(data: Mapping[str, object], before: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{key}.")
        else:
            flat[before + key] = str(value)
    return flat


def _points(both: Sequence[Side]) -> dict[str, list[tuple[Design, Estimate]]]:
    """By study, the designs of its figure and their losses."""
    return {side.name: [(each, found) for each in side.designs if (found := loss(side.summary, each))] for side in both}


def write_figures(first: Summary, second: Summary, folder: Path) -> list[Path]:
    """The figure of the comparison as an SVG file in a folder; returns the files."""
    return save_figures({"front": static.front(_points(sides(first, second)))}, folder)


def write_comparison(first: Summary, second: Summary, path: Path) -> None:
    """Render the comparison to `path`, atomically."""
    both = sides(first, second)
    points = _points(both)
    told: Json = {
        "sides": both,
        "facts": [words.facts(side.summary) for side in both],
        "headlines": [words.headline(side.summary) for side in both],
        "outcome": outcome(first, second),
        "points": points,
        "strip": strip,
        "mixers": mixers([design for side in both for design in side.designs]),
        "differences": set_differently(first, second),
        "svgs": {"front": static.front(points)},
        "figures": {"front": live.front(points)},
        "size": size,
        "estimate": estimate,
    }
    write_atomically(path, rendered("compare.html.j2", told))
