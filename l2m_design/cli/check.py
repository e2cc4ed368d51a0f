"""`l2m check ARCHITECTURE ...`: do architectures, or published models, meet the L²M condition?"""

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
    typer.Argument(
        help="Architectures: YAML files, cards, config.json or params.json of a published model, or folders that "
        "contain one of these. Several are compared."
    ),
]
Beta = Annotated[float | None, typer.Option(help="Required growth: the exponent of I(n;n) = A n^beta.")]
Prefactor = Annotated[
    float | None,
    typer.Option(
        help="A in I(n;n) = A n^beta, in nats: judges the amount of state too, and not only its growth. Needs --beta."
    ),
]
Estimate = Annotated[Path | None, typer.Option(help="Requirement from a file: the output of `l2m estimate --json`.")]
End = Annotated[str, typer.Option(help="Which beta to judge by: upper or lower end of its interval, or its value.")]
Runtime = Annotated[
    str | None,
    typer.Option(
        help="Software whose cache layout is counted for a published model: transformers, vllm, llama.cpp, mamba-ssm, "
        "fla, or ideal (only the state that must be stored).",
        show_default="transformers, or mamba-ssm or fla for their own models",
    ),
]
Paged = Annotated[
    bool, typer.Option("--paged", help="Also count the memory pages that vLLM allocates; needs --runtime vllm.")
]
Dtype = Annotated[
    str,
    typer.Option(help="Data type of the model: float32, bfloat16 or float16; float8 and int8 apply to the KV cache."),
]
KvDtype = Annotated[
    str | None,
    typer.Option(
        help="Data type of the KV cache: float32, bfloat16, float16, float8, int8, q8_0 or q4_0.",
        show_default="that of the model",
    ),
]
StateDtype = Annotated[
    str | None,
    typer.Option(
        help="Data type of recurrent and convolution states: float32, bfloat16 or float16.",
        show_default="that of the runtime",
    ),
]
Lengths = Annotated[
    str | None, typer.Option(help="Also print a table at these context lengths, such as 4k,32k,256k,1M.")
]
BytesPerToken = Annotated[
    float | None,
    typer.Option(
        help="Average bytes of text per token of the models; converts a requirement whose lengths are in bytes."
    ),
]
Capacity = Annotated[
    float | None,
    typer.Option(
        help="Capacity per state element in nats, the same for all layers.", show_default="measured, by mixer type"
    ),
]
Capacities = Annotated[Path | None, typer.Option(help="File of capacities by mixer type, written by `l2m calibrate`.")]
Fits = Annotated[
    str | None,
    typer.Option(metavar="MEMORY", help="Print the longest context whose state fits in this memory, such as 16GiB."),
]
Batch = Annotated[int, typer.Option(min=1, help="Number of sequences in memory at once, for --fits and --paged.")]
Plot = Annotated[
    Path | None, typer.Option(help="Plot the state against the requirement by length: .png, .svg or .html.")
]


def command(
    architecture: Models,
    beta: Beta = None,
    prefactor: Prefactor = None,
    estimate: Estimate = None,
    bytes_per_token: BytesPerToken = None,
    length: TargetLength = "65536",
    end: End = "upper",
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
    """Judge whether an architecture's history state is large enough and grows fast enough for the data (L²M condition).

    Published models are read from their config.json; no weights are needed. Without --beta or --estimate, the
    requirement published for PG19 books is used. Exit code 1 if a model does not meet the condition.
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
