"""`l2m export ARCHITECTURE`: write an architecture or a model as files that other software reads."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l2m_design.cli.terminal import Json, print_json, say

if TYPE_CHECKING:
    from l2m_design.export.exported import Exported
    from l2m_design.settings import Json as Plain

TARGETS = "llama, mistral, smollm3, qwen3, granite, qwen3_5, deepseek, remote, mamba-ssm"
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}


def command(
    architecture: Annotated[
        str,
        typer.Argument(
            help="An architecture (YAML or card), the report folder of a study, or the plan.yaml of an adopted model."
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="Format: card (YAML and JSON), yaml, json, huggingface (the first of the following that can represent "
            f"the architecture), or one of {TARGETS}. For a plan: native (a config that needs no further code), remote "
            "(with code of this package) or huggingface (native where possible, else remote)."
        ),
    ] = "card",
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("exported"),
    weights: Annotated[
        Path | None,
        typer.Option(
            help="File of trained weights, or `fresh` for random ones. Default: those in ARCHITECTURE if it is a "
            "folder that `l2m train` wrote, else fresh."
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="Folder of tokenizer files, `bytes` or `none`. Default: the tokenizer beside --weights, else the one "
            "beside the architecture."
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="PARAMETERS", help="Enlarge the architecture to about this many parameters, such as 350M."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Random seed of fresh weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export in --out.")] = False,
    register: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Register the export in MLflow as the next version of a model."),
    ] = None,
    tracking: Annotated[
        str | None, typer.Option(help="With --register: MLflow URI. Default: MLFLOW_TRACKING_URI, else a SQLite file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Export an architecture with its weights; a written model is loaded back and its logits are compared."""
    from l2m_design.library.export import export

    parameters = None if scale is None else _parameters(scale)
    weighted: dict[str, Any] = {"weights": weights, "tokenizer": tokenizer, "parameters": parameters, "seed": seed}
    result = export(architecture, to, out, **weighted, force=force, register=register, tracking=tracking)
    print_json(result) if as_json else _say(result)


def _parameters(scale: str) -> int:
    """Parse a number of parameters, such as 350M. Raises BadInput."""
    from l2m_design.errors import BadInput

    unit = UNITS.get(scale[-1:].upper(), 1.0)
    try:
        number = float(scale[:-1] if scale[-1:].upper() in UNITS else scale) * unit
    except ValueError:
        number = math.nan
    if not 1000 <= number <= 1e13:
        raise BadInput(f"--scale: found '{scale}', must be a number of parameters from 1000 to 1e13, such as 350M")
    return int(number)


def _say(result: "Exported") -> None:
    files = result["files"]
    if made := result.get("registered"):
        say(f"Registered: {made['name']}, version {made['version']}; {made['uri']} names it.")
    say(*(f"Wrote {file}" for file in files if not Path(file).name.startswith("l2m_")))
    if code := [file for file in files if Path(file).name.startswith("l2m_")]:
        say(f"Wrote {len(code)} files of Python code beside them")
    if grown := result.get("scaled"):
        parts = {"parameters": grown["parameters"], "width": grown["width"], "layers": grown["layers"]}
        sizes = ", ".join(f"{name} {part['from']:,} to {part['to']:,}" for name, part in parts.items())
        say(f"Enlarged: {sizes}; {grown['label']}.", _verdict(grown["verdict"]))
    if result["max_logit_difference"] is None:
        return
    say(*(f"Skipped format {name}: {why}" for name, why in result["failed"].items()))
    by = "" if result["proven_by"] == "loaded" else " by this package's own reader of the format"
    say(
        f"{result['format']}, {result['label']}: loaded back in a new process{by}; its logits differ by at most "
        f"{result['max_logit_difference']:.1e}."
    )
    say(f"Weights: {result['weights'] or 'random, untrained'}.")
    say(f"Tokenizer: {result['tokenizer'] or 'none found; give one with --tokenizer'}.")
    if (held := result["cache_bytes"])["held"] is not None:
        say(f"After {held['tokens']:,} tokens its cache has {held['held']:,} bytes, as the state law predicts.")


def _verdict(verdict: "Plain | None") -> str:
    from l2m_design.condition import Judgement

    if verdict is None:
        return "Condition not checked: the source states no requirement (use l2m check)."
    found = Judgement.of_plain(verdict)
    level = {True: "met", False: "not met", None: "not checked, the required amount is unknown"}[found.meets_level]
    return (
        f"Condition checked again: growth t^{found.growth_exponent:.2f} where t^{found.asked_exponent:.2f} is "
        f"required, {'met' if found.meets_growth else 'not met'}; capacity {level}."
    )
