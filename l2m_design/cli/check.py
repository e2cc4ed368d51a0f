"""`l2m check ARCHITECTURE`: does a drawing, or a published model, meet the L²M condition?"""

from pathlib import Path
from typing import Annotated

import typer

from l2m_design.cli.terminal import Json, Set, print_json


def command(
    architecture: Annotated[str, typer.Argument(help="A YAML drawing, a card, a config.json, or a folder with one.")],
    beta: Annotated[float | None, typer.Option(help="The exponent that the data ask for.")] = None,
    prefactor: Annotated[float | None, typer.Option(help="A of I(n;n) = A n^beta, nats; needs --beta.")] = None,
    estimate: Annotated[Path | None, typer.Option(help="The output of `l2m estimate --json`, in a file.")] = None,
    length: Annotated[int, typer.Option(help="Target context, tokens.")] = 65536,
    end: Annotated[str, typer.Option(help="End of beta's interval to judge by: upper, value or lower.")] = "upper",
    nats_per_element: Annotated[float, typer.Option(help="What one state element holds (an assumption).")] = 0.06,
    eta: Annotated[Path | None, typer.Option(help="Nats per element by kind, as `l2m calibrate` wrote them.")] = None,
    dtype: Annotated[str, typer.Option(help="State elements: float32, bfloat16, float16 or float8.")] = "bfloat16",
    runtime: Annotated[
        str | None,
        typer.Option(
            help="Whose convention a published model's state follows: transformers, vllm, mamba-ssm or ideal.",
            show_default="transformers",
        ),
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(help="Tabulate these contexts: 4k,32k,256k,1M or plain integers.")
    ] = None,
    overrides: Set = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """Judge a state law against what the data ask for. Exit 0 when the condition is met, 1 when not.

    The law is that of a drawing, or of a published model, read from its config.json without its weights.
    Without --beta or --estimate the demand is that of PG19 books as published, and it is said.
    """
    from l2m_design.cli import demand as demands
    from l2m_design.cli import subject as subjects
    from l2m_design.cli import verdict as verdicts
    from l2m_design.cli.answer import answer
    from l2m_design.cli.lengths import parse_lengths
    from l2m_design.condition import Demand, Terms, read_nats_by_kind

    law, has_level, source = demands.law(beta, prefactor, estimate)
    given = {
        "length": length,
        "end": end,
        "nats_per_element": nats_per_element,
        "nats_by_kind": {} if eta is None else read_nats_by_kind(eta),
        "dtype": dtype,
        "shortest": min(256, length),
    }
    demand = Demand(law, Terms.parse(given, "check"), has_level)
    subject = subjects.read(architecture, runtime, length, overrides)
    result = answer(subject, demand, source, [] if lengths is None else parse_lengths(lengths))
    if as_json:
        print_json(result)
    else:
        verdicts.show(subject, demand, result)
    raise typer.Exit(0 if result["meets"] else 1)
