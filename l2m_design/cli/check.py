"""`l2m check ARCHITECTURE`: does a drawing, or a published model, meet the L²M condition?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l2m_design.cli.terminal import Json, Set, print_json

if TYPE_CHECKING:
    from l2m_design.cli.subject import Subject
    from l2m_design.condition import Demand
    from l2m_design.laws import PowerLaw

PUBLISHED = "PG19 books as published (arXiv 2503.04725: 2.27 L^0.76 nats, LLaMA-3.1-405B, its tokens)"


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
    overrides: Set = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """Judge a state law against what the data ask for. Exit 0 when the condition is met, 1 when not.

    The law is that of a drawing, or of a published model, read from its config.json without its weights.
    Without --beta or --estimate the demand is that of PG19 books as published, and it is said.
    """
    from l2m_design.cli import subject as subjects
    from l2m_design.cli import verdict as verdicts
    from l2m_design.condition import Demand, Terms, read_nats_by_kind

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
    subject = subjects.read(architecture, runtime, length, overrides)
    result = _result(subject, demand, source)
    if as_json:
        print_json(result)
    else:
        verdicts.show(subject, demand, result)
    raise typer.Exit(0 if result["meets"] else 1)


def _result(subject: "Subject", demand: "Demand", source: str) -> dict[str, Any]:
    """What the JSON says."""
    from l2m_design.advice import advise
    from l2m_design.report.advice import advice, payers

    verdict, terms = demand.judge(subject.state), demand.terms
    changes = advise(subject.stack, demand)
    return verdict.plain() | {
        "state_elements": subject.state.elements(terms.length),
        "state_bytes": subject.state.bytes(terms.length, terms.dtype),
        "bytes_per_token": subject.state.bytes_per_token(terms.length, terms.dtype),
        "length": terms.length,
        "dtype": terms.dtype,
        "runtime": subject.runtime,
        "layers": subject.layers,
        "parameters": subject.parameters,
        "active_parameters": subject.active_parameters,
        "notes": subject.notes,
        "demand": {
            "source": source,
            "beta": demand.law.beta.plain(),
            "nats_per_element": terms.nats_per_element,
            "nats_by_kind": terms.nats_by_kind,
            "end": terms.end,
        },
        "meets": verdict.met,
        "advice": advice(subject.stack, subject.kinds, demand, changes),
        "change": {
            "pays": payers(subject.stack, subject.kinds, demand),
            "options": [change.plain(demand) for change in changes],
        },
    }


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
