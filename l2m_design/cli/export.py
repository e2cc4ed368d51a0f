"""`l2m export ARCHITECTURE`: a drawing as files that others can read."""

from pathlib import Path
from typing import Annotated, Any

import typer

from l2m_design.cli.terminal import Json, print_json, say

CARDS = {"card": ("yaml", "json"), "yaml": ("yaml",), "json": ("json",)}


def command(
    architecture: Annotated[str, typer.Argument(help="A YAML drawing, a card, or a study's report folder.")],
    to: Annotated[
        str,
        typer.Option(help="card (YAML and JSON), yaml, json, huggingface, one of its targets (llama, ...), mamba-ssm."),
    ] = "card",
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("exported"),
    weights: Annotated[Path | None, typer.Option(help="Trained weights of the drawing; fresh ones without.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of fresh weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Export a drawing; what is written is loaded back and compared before it is called done."""
    from l2m_design.architecture import Architecture
    from l2m_design.errors import BadInput
    from l2m_design.export.card import known

    if weights and to in CARDS:
        raise BadInput(f"--weights: not for --to {to}, which writes none")
    drawing = Architecture.load(architecture)
    if to in CARDS:
        result = _card(drawing, architecture, to, out, force)
    else:
        result = _model(drawing, to, out, weights, seed, force, known(architecture))
    if as_json:
        print_json(result)
        return
    say(*(f"Wrote {file}" for file in result["files"]))
    if result["max_logit_difference"] is not None:
        by = "" if result["proven_by"] == "loaded" else ", by a plain reading of the format"
        say(
            f"{result['format']}, {result['label']}: loaded back in a fresh process{by}, its logits differ by at most "
            f"{result['max_logit_difference']:.1e}."
        )
        if (held := result["cache_bytes"])["held"] is not None:
            say(f"After {held['tokens']:,} tokens its cache holds {held['held']:,} bytes, as the law says.")


def _card(drawing: Any, source: str, to: str, out: Path, force: bool) -> dict[str, Any]:
    from l2m_design.export.card import card, known, write_card
    from l2m_design.export.placing import placed

    content = card(drawing, None, {"source": source}) | known(source)
    with placed(out, force) as staging:
        files = [out / Path(file).name for file in write_card(content, staging, CARDS[to])]
    return {"files": [str(file) for file in files], "format": to, "loads": True, "max_logit_difference": None}


def _model(
    drawing: Any, to: str, out: Path, weights: Path | None, seed: int, force: bool, known: dict[str, Any]
) -> dict[str, Any]:
    from l2m_design.errors import BadInput
    from l2m_design.export.targets import NAMES

    if to not in ("huggingface", *NAMES):
        raise BadInput(f"--to: found '{to}', allowed: {', '.join((*CARDS, 'huggingface', *NAMES))}")
    from l2m_design.export.huggingface import export_huggingface

    return export_huggingface(drawing, out, weights, seed, None if to == "huggingface" else to, force, known)
