"""The tables of `l2m check --lengths`: required and available state at each length; sizes that a fixed state needs."""

from typing import TYPE_CHECKING

from l2m_design.cli.terminal import say, table

if TYPE_CHECKING:
    from l2m_design.advice.by_length import AtLength


def tabulate(rows: "list[AtLength]", held: str) -> None:
    """Print one model, a row for each length; held: the assumed capacity per element, in words."""
    from l2m_design.report.words import MARKS, size

    columns = [
        "length",
        "nats required",
        "elements required",
        "by the hard bound",
        "elements at length/2",
        "state at length",
        "capacity condition",
    ]
    table(
        columns,
        [
            [
                f"{row['length']:,}",
                *_required(row),
                f"{row['held_elements']:,}",
                size(row["state_bytes"]),
                MARKS[row["meets_level"]],
            ]
            for row in rows
        ],
    )
    if rows[0]["asked_nats"] is not None:
        say(
            f"The elements required assume a capacity per element of {held}. The capacity condition compares them "
            "with the state after half of the context."
        )
    _series(rows)


def _required(row: "AtLength") -> list[str]:
    """Return three cells: nats, elements at the assumed capacity, elements by the hard bound."""
    if row["asked_nats"] is None:
        return ["-"] * 3
    elements = row["asked_elements"]
    return [f"{row['asked_nats']:,.0f}", f"{elements['effective']:,}", f"{elements['hard']:,}"]


def _series(rows: "list[AtLength]") -> None:
    """If the state is of fixed size, print the sizes that it would need at each length."""
    members = [(row["length"], row["member"]) for row in rows if row["member"]]
    if not members:
        return
    names = [name for name in members[0][1] if name != "factor"]
    say(
        "",
        "The state has a fixed size, so every length needs a larger model. Any one of these sizes is enough, all else "
        "unchanged:",
    )
    table(
        ["length", "state, times larger", *(name.replace("_about", ", about") for name in names)],
        [
            [f"{length:,}", f"{member['factor']:.3g}", *(_size(member[name]) for name in names)]
            for length, member in members
        ],
    )


def _size(value: float | None) -> str:
    return "none is enough" if value is None else "any" if value == 1 else f"{value:,}"
