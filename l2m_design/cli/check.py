"""`l2m check ARCHITECTURE`: does a drawing meet the L²M condition?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l2m_design.cli.terminal import Json, Set, print_json, say, table

if TYPE_CHECKING:
    from l2m_design.architecture import Architecture
    from l2m_design.condition import Demand
    from l2m_design.laws import PowerLaw

PUBLISHED = "PG19 books as published (arXiv 2503.04725: 2.27 L^0.76 nats, LLaMA-3.1-405B, its tokens)"


def command(
    architecture: Annotated[str, typer.Argument(help="A YAML drawing, a card, or a folder with one.")],
    beta: Annotated[float | None, typer.Option(help="The exponent that the data ask for.")] = None,
    prefactor: Annotated[float | None, typer.Option(help="A of I(n;n) = A n^beta, nats; needs --beta.")] = None,
    estimate: Annotated[Path | None, typer.Option(help="The output of `l2m estimate --json`, in a file.")] = None,
    length: Annotated[int, typer.Option(help="Target context, tokens.")] = 65536,
    end: Annotated[str, typer.Option(help="End of beta's interval to judge by: upper, value or lower.")] = "upper",
    nats_per_element: Annotated[float, typer.Option(help="What one state element holds (an assumption).")] = 0.06,
    eta: Annotated[Path | None, typer.Option(help="Nats per element by kind, as `l2m calibrate` wrote them.")] = None,
    dtype: Annotated[str, typer.Option(help="State elements: float32, bfloat16, float16 or float8.")] = "bfloat16",
    overrides: Set = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """Judge a drawing's state law against what the data ask for. Exit 0 when the condition is met, 1 when not.

    Without --beta or --estimate the demand is that of PG19 books as published, and it is said.
    """
    from l2m_design.architecture import Architecture
    from l2m_design.condition import Demand, Terms, read_nats_by_kind

    drawing = Architecture.load(architecture, tuple(overrides))
    drawing.check_context(length, architecture)
    law, has_level, source = _law(beta, prefactor, estimate)
    given = {
        "length": length,
        "end": end,
        "nats_per_element": nats_per_element,
        "nats_by_kind": {} if eta is None else read_nats_by_kind(eta),
        "dtype": dtype,
        "shortest": min(256, length),
    }
    demand = Demand(law, Terms.parse(given, "check"), has_level)
    verdict = demand.judge(drawing.state)
    result = verdict.plain() | {
        "state_elements": drawing.state.elements(length),
        "state_bytes": drawing.state.bytes(length, dtype),
        "bytes_per_token": drawing.state.bytes_per_token(length, dtype),
        "length": length,
        "dtype": dtype,
        "layers": _layers(drawing, length),
        "parameters": drawing.parameters,
        "demand": {
            "source": source,
            "beta": law.beta.plain(),
            "nats_per_element": nats_per_element,
            "nats_by_kind": demand.terms.nats_by_kind,
            "end": end,
        },
        "meets": verdict.met,
    }
    if as_json:
        print_json(result)
    else:
        _print(drawing, demand, result)
    raise typer.Exit(0 if verdict.met else 1)


def _layers(drawing: "Architecture", length: int) -> list[dict[str, Any]]:
    return [
        {
            "kind": layer.kind,
            "reads_layer": getattr(layer, "share", None),
            "letter": layer.letter,
            "growth_exponent": layer.state_law(drawing.width).exponent,
            "state_elements": layer.state_law(drawing.width).elements(length),
        }
        for layer in drawing.layers
    ]


def _law(beta: float | None, prefactor: float | None, estimate: Path | None) -> tuple["PowerLaw", bool, str]:
    """The law to judge by, whether it has a level, and where it comes from."""
    from l2m_design.errors import BadInput
    from l2m_design.laws import PowerLaw
    from l2m_design.settings import read_text

    if estimate is not None:
        if beta is not None or prefactor is not None:
            raise BadInput("--estimate brings its own beta and prefactor: give one or the other")
        try:
            data = json.loads(read_text(estimate))
            if data["beta"] is None:
                raise BadInput(f"{estimate}: has no beta: its data prefer the law '{data['preferred_law']}'")
            return PowerLaw.of_plain(data["law"]), True, str(estimate)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{estimate}: not the output of `l2m estimate --json`") from None
    if beta is None:
        if prefactor is not None:
            raise BadInput("--prefactor needs --beta")
        from l2m_design.information.published import PG19

        return PG19.law, True, PUBLISHED
    if not 0 < beta <= 1:
        raise BadInput(f"--beta: must lie in (0, 1], found {beta}")
    if prefactor is not None and not 0 < prefactor <= 1e12:
        raise BadInput(f"--prefactor: must lie in (0, 1e12], found {prefactor}")
    return PowerLaw(prefactor or 1.0, beta), prefactor is not None, "given"


def _print(drawing: Any, demand: "Demand", result: dict[str, Any]) -> None:
    from l2m_design.report.words import constant, size, tokens

    length, dtype = result["length"], result["dtype"]
    say(
        f"{drawing.picture}: {drawing.parameters:,} parameters, width {drawing.width}",
        f"Demand: {result['demand']['source']}; beta {demand.law.beta}, judged at its {result['demand']['end']} end",
    )
    table(
        ["layer", "kind", "growth", f"state at {length:,}", "share"],
        [
            [
                str(i),
                row["kind"] if row["reads_layer"] is None else f"{row['kind']}, reads layer {row['reads_layer']}",
                f"t^{row['growth_exponent']:.2f}",
                f"{row['state_elements']:,}",
                f"{row['state_elements'] / result['state_elements']:.1%}",
            ]
            for i, row in enumerate(result["layers"])
        ],
    )
    say(
        f"State at {length:,} tokens: {result['state_elements']:,} elements, {size(result['state_bytes'])} in {dtype}, "
        f"{result['bytes_per_token']:,.0f} bytes a further token."
    )
    if drawing.surprised:
        say(f"The last hidden vector ({drawing.width} elements), which tells the next token's surprise, is part of it.")
    answer = "meets" if result["meets_growth"] else "does not meet"
    say(
        f"Growth: the state grows as t^{result['growth_exponent']:.3g}, "
        f"the data ask for t^{result['asked_exponent']:.3g}: {answer} the condition."
    )
    if result["level_slack"] is None:
        say("Level: not judged (a beta alone names no amount; give --prefactor or --estimate).")
        return
    held = constant(demand.terms.plain(), drawing.state.kinds)
    word = "large enough" if result["meets_level"] else "too small"
    say(
        f"Level up to {length:,} tokens: {word}, if one element holds {held}; "
        "the condition fixes a rate, not this constant.",
        f"Reach: {tokens(result['reach_tokens']['effective'])} under that, "
        f"{tokens(result['reach_tokens']['hard'])} by the hard bound of {demand.hard_nats:.1f} nats per element.",
    )
