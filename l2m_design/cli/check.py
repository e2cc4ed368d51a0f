"""`l2m check ARCHITECTURE ...`: do drawings, or published models, meet the L²M condition?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.terminal import Json, Set, TargetLength, print_json, warn
from l2m_design.library.lengths import parse_length, parse_lengths

if TYPE_CHECKING:
    from l2m_design.library.answer import CheckAnswer
    from l2m_design.library.check import Checked
    from l2m_design.library.subject import Subject

Models = Annotated[
    list[str],
    typer.Argument(help="YAML drawings, cards, config.json, params.json, or folders with one. Several are compared."),
]
Runtime = Annotated[
    str | None,
    typer.Option(
        help="Whose convention a published model's state follows: transformers, vllm, llama.cpp, mamba-ssm, fla or "
        "ideal.",
        show_default="transformers; mamba-ssm and fla for their own",
    ),
]
Paged = Annotated[bool, typer.Option("--paged", help="Count the pages that vLLM allots too; needs --runtime vllm.")]
Dtype = Annotated[
    str, typer.Option(help="The model's: float32, bfloat16 or float16; float8 and int8 are its KV cache's alone.")
]
KvDtype = Annotated[
    str | None,
    typer.Option(help="KV cache: a model's dtype, float8, int8, q8_0 or q4_0.", show_default="the model's"),
]
StateDtype = Annotated[
    str | None,
    typer.Option(
        help="Recurrent and convolution states: float32, bfloat16 or float16.", show_default="the runtime's own"
    ),
]
Lengths = Annotated[str | None, typer.Option(help="Tabulate these contexts: 4k,32k,256k,1M or plain integers.")]
BytesPerToken = Annotated[
    float | None,
    typer.Option(help="Bytes that a token of the models holds on average: converts a demand that counts bytes."),
]
Capacity = Annotated[
    float | None,
    typer.Option(help="Capacity of every state element, nats.", show_default="as measured, by kind of layer"),
]
Capacities = Annotated[Path | None, typer.Option(help="Capacities by kind of layer, as `l2m calibrate` wrote them.")]
Fits = Annotated[str | None, typer.Option(help="The longest context whose state fits, as in 16GiB.")]
Batch = Annotated[int, typer.Option(min=1, help="Sequences that a server holds, or that share the memory of --fits.")]
Plot = Annotated[Path | None, typer.Option(help="Draw what is held over what is asked: .png, .svg or .html.")]


def command(
    architecture: Models,
    beta: Annotated[float | None, typer.Option(help="The exponent that the data ask for.")] = None,
    prefactor: Annotated[float | None, typer.Option(help="A of I(n;n) = A n^beta, nats; needs --beta.")] = None,
    estimate: Annotated[Path | None, typer.Option(help="The output of `l2m estimate --json`, in a file.")] = None,
    bytes_per_token: BytesPerToken = None,
    length: TargetLength = "65536",
    end: Annotated[str, typer.Option(help="End of beta's interval to judge by: upper, value or lower.")] = "upper",
    nats_per_element: Capacity = None,
    eta: Capacities = None,
    dtype: Dtype = "bfloat16",
    kv_dtype: KvDtype = None,
    state_dtype: StateDtype = None,
    runtime: Runtime = None,
    paged: Paged = False,
    lengths: Lengths = None,
    fits: Fits = None,
    batch: Batch = 1,
    plot: Plot = None,
    overrides: Set = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """Judge state laws against what the data require: enough state, growth, reach. Exit 1 where a model fails.

    A law is that of a drawing, or of a published model, read from its config.json without its weights.
    Without --beta or --estimate the demand is that of PG19 books as published, and it is said.
    """
    from l2m_design.library import answer
    from l2m_design.library.check import check_all
    from l2m_design.library.demand import read

    target = parse_length(length)
    contexts = [] if lengths is None else parse_lengths(lengths)
    if plot:
        answer.check_plot(plot)
    found = check_all(
        architecture,
        read(beta, prefactor, estimate),
        length=target,
        end=end,
        dtype=dtype,
        kv_dtype=kv_dtype,
        state_dtype=state_dtype,
        nats_per_element=nats_per_element,
        eta=eta,
        bytes_per_token=bytes_per_token,
        runtime=runtime,
        paged=paged,
        lengths=contexts,
        fits=fits,
        batch=batch,
        overrides=overrides,
    )
    if plot:
        models, results = _columns(found)
        answer.draw(plot, models, next(iter(found.values())).demand, max([target, *contexts]), results)
        warn(f"Plot: {plot}")
    _show(found, as_json)
    raise typer.Exit(0 if all(checked.meets for checked in found.values()) else 1)


def _columns(found: "dict[str, Checked]") -> "tuple[dict[str, Subject], list[CheckAnswer]]":
    return {name: checked.subject for name, checked in found.items()}, [checked.data for checked in found.values()]


def _show(found: "dict[str, Checked]", as_json: bool) -> None:
    from l2m_design.cli import compared, verdict

    models, results = _columns(found)
    first = next(iter(found.values()))
    if len(found) == 1:
        print_json(first.data) if as_json else verdict.show(first.subject, first.demand, first.data)
    elif as_json:
        each = [{"model": name} | result for name, result in zip(models, results, strict=True)]
        print_json({"models": each, "meets": all(checked.meets for checked in found.values())})
    else:
        compared.show(models, first.demand, results)
