"""Several models of `l2m check` on the terminal: a row for each, then each length, then advice."""

from typing import TYPE_CHECKING

from l2m_design.cli.by_length import tabulate
from l2m_design.cli.terminal import say, table
from l2m_design.cli.verdict import counted_in, in_dtypes, requirement
from l2m_design.library.allotted import in_words
from l2m_design.library.fits import sentence
from l2m_design.terms import REACH_LIMIT

if TYPE_CHECKING:
    from l2m_design.condition import Demand
    from l2m_design.library.answer import CheckAnswer, HeldIn
    from l2m_design.library.subject import Subject


def show(models: "dict[str, Subject]", demand: "Demand", results: "list[CheckAnswer]") -> None:
    """Print models side by side. models: by name, in the order of results."""
    from l2m_design.report.words import constant

    kinds = tuple({kind: None for subject in models.values() for kind in subject.state.kinds})
    held, terms = constant(demand.terms, kinds), demand.terms
    used: HeldIn = {
        "model": terms.dtypes.model,
        "kv_cache": list(dict.fromkeys(dtype for result in results for dtype in result["dtypes"]["kv_cache"])),
        "state": list(dict.fromkeys(dtype for result in results for dtype in result["dtypes"]["state"])),
    }
    say(
        f"Requirement: {results[0]['demand']['source']}{counted_in(results[0]['demand'])}; {requirement(demand)}: "
        f"growth {demand.growth}",
    )
    columns = [
        "model",
        "enough state",
        "grows as",
        "growth condition",
        f"state at {terms.length:,}",
        "bytes per token",
        "longest context covered",
        "by the hard bound",
    ]
    table(columns, [_row(name, result) for name, result in zip(models, results, strict=True)])
    if demand.has_level:
        say(
            f"Assumed capacity per state element: {held}.",
            f"The longest context covered is given at this capacity, and by the hard bound of {demand.hard_nats:.1f} "
            f"nats per element; states {in_dtypes(used)}. Enough state: yes if the state suffices at the lowest "
            "capacity, no if it does not suffice at the highest.",
        )
    for name, result in zip(models, results, strict=True):
        say("", f"{name}: {'meets' if result['meets'] else 'does not meet'} the condition.")
        if "allotted" in result:
            say(in_words(result["allotted"]))
        if "fits" in result:
            say(sentence(result["fits"]))
        if "by_length" in result:
            tabulate(result["by_length"], held)
        say(*result["advice"])


def _row(name: str, result: "CheckAnswer") -> list[str]:
    from l2m_design.report.words import MARKS, size

    reach = result["reach_tokens"] if result["level_slack"] is not None else None
    return [
        name,
        result["enough_state"] or "-",
        result["growth"],
        MARKS[result["meets_growth"]],
        size(result["state_bytes"]),
        f"{result['bytes_per_token']:,.0f}",
        _reach(reach["effective"]) if reach else "-",
        _reach(reach["hard"]) if reach else "-",
    ]


def _reach(tokens: int | None) -> str:
    return f"{REACH_LIMIT:,} or more" if tokens is None else f"{tokens:,}"
