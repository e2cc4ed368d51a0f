"""The state of models against the requirement of the data, as a picture or a page."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from l2m_design.condition import Demand
from l2m_design.laws import StateLaw
from l2m_design.report.picture import save
from l2m_design.report.words import MARKS, size, tokens
from l2m_design.settings import Json


def draw(
    path: Path,
    states: Mapping[str, StateLaw],
    demand: Demand,
    longest: int,
    answers: Sequence[Mapping[str, object]],
    held: str,
) -> None:
    """Write the figure up to `longest` tokens, or a page with it and one answer per model, atomically.

    answers: the JSON of `l2m check` for each model. held: the assumed capacity of an element, in words. Raises BadInput
    if the file cannot be written.
    """
    from l2m_design.report.figures.supply import supply_bytes, supply_svg

    told: Json = {"demand": demand, "held": held, "rows": list(zip(states, answers, strict=True))}
    told |= {"mark": MARKS.get, "size": size, "tokens": tokens}
    shown = (states, demand, longest)
    save(path, partial(supply_svg, *shown), partial(supply_bytes, *shown), "supply.html.j2", told)
