"""`l2m space SPACE`: count the architectures of a space and those that meet the condition; advise if none does."""

from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.terminal import Json, Set, TargetLength, print_json, say, table
from l2m_design.library.lengths import parse_length

if TYPE_CHECKING:
    from l2m_design.search.space.feasibility import Feasibility
    from l2m_design.search.space.space import Space
    from l2m_design.settings import Json as Plain

PARTS = ("growth", "level")
SpaceFile = Annotated[
    str | None, typer.Argument(help="YAML file of a search space, such as search_spaces/hybrid.yaml.")
]
Enforce = Annotated[
    list[str],
    typer.Option(help="Parts of the condition that must be met: growth, level (the capacity condition); repeatable."),
]


def command(
    space: SpaceFile = None,
    beta: Annotated[float, typer.Option(help="Required growth: the exponent of I(n;n) = A n^beta.")] = 0.7,
    prefactor: Annotated[
        float | None,
        typer.Option(help="A of I(n;n) = A n^beta in nats; with it the capacity condition is checked too."),
    ] = None,
    length: TargetLength = "65536",
    vocabulary: Annotated[int, typer.Option(min=2, max=10_000_000, help="Vocabulary size of the corpus.")] = 256,
    enforce: Enforce = [*PARTS],  # noqa: B006
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of spaces and stop.")] = False,
    overrides: Set = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """Count the architectures of a search space, and how many of them meet the L²M condition.

    Up to 4,096 architectures are all checked; of a larger space 500 are sampled at random. If none meets the
    condition, the smallest change that would help is printed and the exit code is 1.
    """
    from l2m_design.condition import Demand
    from l2m_design.errors import BadInput
    from l2m_design.laws import PowerLaw
    from l2m_design.search.space.feasibility import feasible, judged_by, refusal
    from l2m_design.search.space.schema import schema as schema_of_spaces
    from l2m_design.search.space.space import Space, check_space
    from l2m_design.terms import Terms

    if schema:
        print_json(schema_of_spaces())
        return
    if space is None:
        raise BadInput("SPACE: give the YAML file of a space, such as search_spaces/hybrid.yaml, or --schema")
    if not 0 < beta <= 1:
        raise BadInput(f"--beta: must lie in (0, 1], found {beta}")
    if prefactor is not None and not 0 < prefactor <= 1e12:
        raise BadInput(f"--prefactor: must lie in (0, 1e12], found {prefactor}")
    for part in enforce:
        if part not in PARTS:
            raise BadInput(f"--enforce: found '{part}', allowed: {', '.join(PARTS)}")
    if prefactor is None and "growth" not in enforce:
        raise BadInput("--enforce level: needs --prefactor, from which the required amount follows")
    holds = Space.load(space, overrides).resolved(beta)
    target = parse_length(length)
    demand = Demand(PowerLaw(prefactor or 1.0, beta), Terms.parse({"length": target}, "space"), prefactor is not None)
    check_space(holds, {}, vocabulary, space)
    found = feasible(holds, judged_by(demand, enforce), vocabulary)
    why = None if found.met else refusal(holds, demand, vocabulary, space, enforce)
    result = {"space": space} | _plain(holds, found, target) | {"beta": beta, "length": target, "refusal": why}
    if as_json:
        print_json(result)
    else:
        judged = enforce if prefactor else ["growth"]
        _say(holds, found, target, f"{' and '.join(judged)} at beta = {beta:g}", prefactor is not None)
        say(*([why] if why else []))
    if why:
        raise typer.Exit(1)


def _plain(space: "Space", found: "Feasibility", length: int) -> "Plain":
    """Return counts, and the ranges over the architectures that were checked, as JSON."""
    budget, allowed = space.budget
    spent = [space.spent(architecture) for architecture in found.fitting]
    widths = [architecture.width for architecture in found.fitting]
    bytes_ = _bytes(found, length)
    return {
        "layers": space.depth,
        "mixers": len(space.mixers),
        **found.plain(),
        budget: {"asked": allowed, "least": min(spent), "most": max(spent)},
        "widths": {"least": min(widths), "most": max(widths)},
        "state_bytes": {"least": bytes_[0], "median": bytes_[len(bytes_) // 2], "most": bytes_[-1]},
    }


def _bytes(found: "Feasibility", length: int) -> list[int]:
    """Return the bytes of state of the architectures that were checked, in increasing order."""
    return sorted(architecture.state.bytes(length) for architecture in found.fitting)


def _say(space: "Space", found: "Feasibility", length: int, condition: str, known: bool) -> None:
    from l2m_design.report.words import size

    kinds = [f"{kind} (baselines only)" if kind not in space.offered else kind for kind in space.kinds]
    table(
        ["choice", "options"],
        [["mixer type", ", ".join(kinds)]]
        + ([["period", ", ".join(str(span) for span in space.spans)]] if space.periods else [])
        + [[name, ", ".join(str(o) for o in options)] for name, options in space.choices.items()],
    )
    low, high = found.interval
    share = f"{found.met:,} of {found.looked:,}" if found.exact else f"{found.share:.0%} [{low:.0%}, {high:.0%}]"
    checked = "all checked" if found.exact else f"{found.looked} sampled at random"
    bytes_ = _bytes(found, length)
    say(
        f"{space.depth} layers of {len(space.mixers)} different mixers: {found.drawings:,} architectures.",
        f"{share} ({checked}) meet the condition: {condition}"
        + ("." if known else " (--prefactor adds the capacity condition)."),
        f"State at {length:,} tokens (bfloat16): {size(bytes_[0])} to {size(bytes_[-1])}, "
        f"median {size(bytes_[len(bytes_) // 2])}.",
    )
