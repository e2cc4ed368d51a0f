"""The verdict of `l2m check` on the terminal: state by layer, growth and capacity condition, longest context."""

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from l2m_design.cli.by_length import tabulate
from l2m_design.cli.terminal import say, table
from l2m_design.library.allotted import in_words
from l2m_design.library.fits import sentence

if TYPE_CHECKING:
    from l2m_design.condition import Demand
    from l2m_design.library.answer import CheckAnswer, DemandAnswer, HeldIn
    from l2m_design.library.subject import Layer, Subject

NAMED_LAYERS = 4


def show(subject: "Subject", demand: "Demand", result: "CheckAnswer") -> None:
    """Print everything that the JSON contains, as a table and sentences."""
    from l2m_design.library.check import enough
    from l2m_design.report.words import constant, size

    length = result["length"]
    active = subject.active_parameters
    counted = f"{subject.parameters:,} parameters" + (f" ({active:,} active)" if active != subject.parameters else "")
    say(
        f"{f'{subject.name}: ' if subject.name else ''}{subject.picture}: {counted}, width {subject.width}",
        f"Requirement: {result['demand']['source']}{counted_in(result['demand'])}; {requirement(demand)}",
    )
    if subject.name is None:
        table(["layer", "mixer type", "grows as", f"elements at {length:,}", "share"], list(_each(result)))
    else:
        table(["layers", "mixer type", "grows as", f"elements of each at {length:,}", "share"], list(_alike(result)))
    say(
        f"State at {length:,} tokens: {result['state_elements']:,} elements, {size(result['state_bytes'])} "
        f"{in_dtypes(result['dtypes'])}, "
        f"{result['bytes_per_token']:,.0f} bytes for each further token.",
        *([in_words(result["allotted"])] if "allotted" in result else []),
        *([sentence(result["fits"])] if "fits" in result else []),
        *subject.notes,
        enough(demand.enough(subject.state), length),
    )
    _judgement(demand, result, constant(demand.terms, subject.state.kinds))
    if "by_length" in result:
        tabulate(result["by_length"], constant(demand.terms, subject.state.kinds))
    say("", *result["advice"])


def counted_in(requirement: "DemandAnswer") -> str:
    """Say what the lengths of the requirement count, if not the model's tokens."""
    if requirement["unit"] == "bytes":
        return ", lengths in bytes"
    size = requirement["bytes_per_token"]
    return f", in tokens of {size:.3g} bytes" if size else ""


def in_dtypes(used: "HeldIn") -> str:
    """Say in which data types the state is stored: one, or those of its parts."""
    cache, state = " and ".join(used["kv_cache"]), " and ".join(used["state"])
    if not cache or not state or cache == state:
        return f"in {cache or state or used['model']}"
    return f"(KV cache in {cache}, other states in {state})"


def requirement(demand: "Demand") -> str:
    """Describe the law of the requirement in words."""
    if demand.law.form != "power":
        return f"no beta: I(n;n) = {demand.law.formula()} nats"
    end = demand.terms.end
    return f"beta {demand.law.beta}, " + ("judged at its value" if end == "value" else f"judged at its {end} end")


def _each(result: "CheckAnswer") -> Iterator[list[str]]:
    """Yield a row for each layer."""
    for index, row in enumerate(result["layers"]):
        yield [str(index), *_cells(row, row["state_elements"], result)]


def _alike(result: "CheckAnswer") -> Iterator[list[str]]:
    """Yield a row for each group of layers with equal states, the largest states first."""

    def alike(item: "tuple[int, Layer]") -> tuple[int, str, int, float]:
        row = item[1]
        return -row["state_elements"], row["kind"], row["reads_layer"] or -1, row["growth_exponent"]

    for _, group in groupby(sorted(enumerate(result["layers"]), key=alike), alike):
        rows = list(group)
        named = ", ".join(str(index) for index, _ in rows[:NAMED_LAYERS])
        dots = ", ..." if len(rows) > NAMED_LAYERS else ""
        total = len(rows) * rows[0][1]["state_elements"]
        yield [f"{len(rows)} ({named}{dots})", *_cells(rows[0][1], total, result)]


def _cells(row: "Layer", total: int, result: "CheckAnswer") -> list[str]:
    reads = row["reads_layer"]
    return [
        row["kind"] if reads is None else f"{row['kind']}, reads the cache of layer {reads}",
        row["growth"],
        f"{row['state_elements']:,}",
        f"{total / max(1, result['state_elements']):.1%}",
    ]


def _judgement(demand: "Demand", result: "CheckAnswer", held: str) -> None:
    from l2m_design.report.words import tokens

    answer = "meets" if result["meets_growth"] else "does not meet"
    required = "no growth" if result["required_growth"] == "none" else f"{result['required_growth']} or faster"
    grows = "does not grow" if result["growth"] == "none" else f"grows as {result['growth']}"
    say(f"Growth condition: the state {grows}, and {required} is required. It {answer} the condition.")
    if result["level_slack"] is None:
        return
    say(
        f"Assumed capacity per state element: {held}.",
        f"Longest context covered: {tokens(result['reach_tokens']['effective'])} at this capacity, "
        f"{tokens(result['reach_tokens']['hard'])} by the hard bound of {demand.hard_nats:.1f} nats per element.",
    )
