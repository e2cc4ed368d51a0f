"""The tables of `l2m check --lengths`: what each length asks for, what is held, and the series of a fixed state."""

from typing import TYPE_CHECKING

from l2m_design.cli.terminal import say, table

if TYPE_CHECKING:
    from l2m_design.advice.by_length import AtLength


def tabulate(rows: "list[AtLength]", held: str) -> None:
    """One model, length by length; held: what an element is taken to hold, in words."""
    from l2m_design.report.words import MARKS, size

    columns = ["length", "nats required", "elements required", "hard bound", "held at half", "state there", "level"]
    table(
        columns,
        [
            [
                f"{row['length']:,}",
                *_asked(row),
                f"{row['held_elements']:,}",
                size(row["state_bytes"]),
                MARKS[row["meets_level"]],
            ]
            for row in rows
        ],
    )
    if rows[0]["asked_nats"] is not None:
        say(f"Elements required if one holds {held}; the level compares them with what is held after half the context.")
    _series(rows)


def _asked(row: "AtLength") -> list[str]:
    """Three cells: nats, elements at the central capacity, elements by the hard bound."""
    if row["asked_nats"] is None:
        return ["-"] * 3
    elements = row["asked_elements"]
    return [f"{row['asked_nats']:,.0f}", f"{elements['effective']:,}", f"{elements['hard']:,}"]


def _series(rows: "list[AtLength]") -> None:
    """The members of a fixed family, where the state is fixed."""
    members = [(row["length"], row["member"]) for row in rows if row["member"]]
    if not members:
        return
    names = [name for name in members[0][1] if name != "factor"]
    say("", "Its state is fixed, so each length needs a member of its own: one of these sizes, all else as it is.")
    table(
        ["length", "state, times", *(name.replace("_about", ", about") for name in names)],
        [
            [f"{length:,}", f"{member['factor']:.3g}", *(_size(member[name]) for name in names)]
            for length, member in members
        ],
    )


def _size(value: float | None) -> str:
    return "none is enough" if value is None else "any" if value == 1 else f"{value:,}"
