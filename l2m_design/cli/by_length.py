"""The tables of `l2m check --lengths`: what each length asks for, what is held, and the series of a fixed state."""

from typing import Any

from l2m_design.cli.terminal import say, table


def tabulate(rows: list[dict[str, Any]], held: str) -> None:
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
    _series([row for row in rows if row["member"]])


def _asked(row: dict[str, Any]) -> list[str]:
    """Three cells: nats, elements at the central capacity, elements by the hard bound."""
    if row["asked_nats"] is None:
        return ["-"] * 3
    elements = row["asked_elements"]
    return [f"{row['asked_nats']:,.0f}", f"{elements['effective']:,}", f"{elements['hard']:,}"]


def _series(rows: list[dict[str, Any]]) -> None:
    """The members of a fixed family."""
    if not rows:
        return
    names = [name for name in rows[0]["member"] if name != "factor"]
    say("", "Its state is fixed, so each length needs a member of its own: one of these sizes, all else as it is.")
    table(
        ["length", "state, times", *(name.replace("_about", ", about") for name in names)],
        [
            [f"{row['length']:,}", f"{row['member']['factor']:.3g}", *(_size(row["member"][name]) for name in names)]
            for row in rows
        ],
    )


def _size(value: int | None) -> str:
    return "none is enough" if value is None else "any" if value == 1 else f"{value:,}"
