"""`l2m export ARCHITECTURE`: an architecture as files that others can read."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.terminal import Json, print_json, say

if TYPE_CHECKING:
    from l2m_design.export.exported import Exported
    from l2m_design.settings import Json as Plain

TARGETS = "llama, mistral, smollm3, qwen3, granite, qwen3_5, deepseek, remote, mamba-ssm"
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}


def command(
    architecture: Annotated[
        str, typer.Argument(help="A YAML architecture, a card, a study's report folder, or a plan (plan.yaml).")
    ],
    to: Annotated[
        str,
        typer.Option(
            help="card (YAML and JSON), yaml, json, huggingface (its first target that fits the architecture), or "
            f"one by name: {TARGETS}; of a plan huggingface, remote (with our code) or native."
        ),
    ] = "card",
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("exported"),
    weights: Annotated[
        Path | None,
        typer.Option(help="Trained weights, or fresh; by default those of a folder of `l2m train`, else fresh."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="A folder of tokenizer files, bytes, or none; by default what lies beside --weights, or without "
            "them beside the architecture."
        ),
    ] = None,
    scale: Annotated[
        str | None, typer.Option(metavar="PARAMETERS", help="Grow the architecture to about so many, such as 350M.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of fresh weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is there.")] = False,
    register: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make it the next version of this registered model in MLflow.")
    ] = None,
    tracking: Annotated[
        str | None, typer.Option(help="With --register: MLflow URI; by default a sqlite file here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Export an architecture; what is written is loaded back and compared before it is called done."""
    from l2m_design.library.export import export

    parameters = None if scale is None else _parameters(scale)
    result = export(
        architecture,
        to,
        out,
        weights=weights,
        tokenizer=tokenizer,
        parameters=parameters,
        seed=seed,
        force=force,
        register=register,
        tracking=tracking,
    )
    print_json(result) if as_json else _say(result)


def _parameters(scale: str) -> int:
    """A number of parameters, such as 350M. Raises BadInput."""
    from l2m_design.errors import BadInput

    unit = UNITS.get(scale[-1:].upper(), 1.0)
    try:
        number = float(scale[:-1] if scale[-1:].upper() in UNITS else scale) * unit
    except ValueError:
        number = math.nan
    if not 1000 <= number <= 1e13:
        raise BadInput(f"--scale: found '{scale}', a number of parameters from 1000 to 1e13 is expected, such as 350M")
    return int(number)


def _say(result: "Exported") -> None:
    files = result["files"]
    if made := result.get("registered"):
        say(f"Registered: {made['name']}, version {made['version']}; {made['uri']} names it.")
    say(*(f"Wrote {file}" for file in files if not Path(file).name.startswith("l2m_")))
    if code := [file for file in files if Path(file).name.startswith("l2m_")]:
        say(f"Wrote {len(code)} files of code beside them")
    if grown := result.get("scaled"):
        parts = {"parameters": grown["parameters"], "width": grown["width"], "layers": grown["layers"]}
        sizes = ", ".join(f"{name} {part['from']:,} to {part['to']:,}" for name, part in parts.items())
        say(f"Scaled: {sizes}; {grown['label']}.", _judged(grown["verdict"]))
    if result["max_logit_difference"] is None:
        return
    say(*(f"Passed over {name}, which could carry it: {why}" for name, why in result["failed"].items()))
    by = "" if result["proven_by"] == "loaded" else ", by a plain reading of the format"
    say(
        f"{result['format']}, {result['label']}: loaded back in a fresh process{by}, its logits differ by at most "
        f"{result['max_logit_difference']:.1e}."
    )
    say(f"Weights: {result['weights'] or 'fresh, untrained'}.")
    say(f"Tokenizer: {result['tokenizer'] or 'none is known; --tokenizer names one'}.")
    if (held := result["cache_bytes"])["held"] is not None:
        say(f"After {held['tokens']:,} tokens its cache holds {held['held']:,} bytes, as the law says.")


def _judged(verdict: "Plain | None") -> str:
    from l2m_design.condition import Judgement

    if verdict is None:
        return "Not judged: the source names no demand (l2m check judges it)."
    found = Judgement.of_plain(verdict)
    level = {True: "met", False: "not met", None: "not judged, its amount is not known"}[found.meets_level]
    return (
        f"Judged again: growth t^{found.growth_exponent:.2f} where t^{found.asked_exponent:.2f} is asked, "
        f"{'met' if found.meets_growth else 'not met'}; level {level}."
    )
