"""`l2m export ARCHITECTURE`: a drawing as files that others can read."""

from pathlib import Path
from typing import Annotated

import typer

from l2m_design.cli.terminal import Json, print_json, say


def command(
    architecture: Annotated[str, typer.Argument(help="A YAML drawing, a card, or a study's report folder.")],
    to: Annotated[str, typer.Option(help="card (YAML and JSON), yaml, json or huggingface.")] = "card",
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("exported"),
    weights: Annotated[Path | None, typer.Option(help="Trained weights (huggingface); fresh ones without.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of fresh weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds files.")] = False,
    as_json: Json = False,
) -> None:
    """Export a drawing; what is written is loaded back and compared before it is called done."""
    from l2m_design.architecture import Architecture
    from l2m_design.errors import BadInput
    from l2m_design.export.card import card, known, write_card

    formats = {"card": ("yaml", "json"), "yaml": ("yaml",), "json": ("json",)}
    if to not in (*formats, "huggingface"):
        raise BadInput(f"--to: found '{to}', allowed: card, yaml, json, huggingface")
    if weights and to != "huggingface":
        raise BadInput("--weights goes with --to huggingface")
    drawing = Architecture.load(architecture)
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not force):
        raise BadInput(f"{out}: holds files already; give --force, or another --out")
    if to == "huggingface":
        from l2m_design.export.huggingface import export_huggingface

        result = export_huggingface(drawing, out, weights, seed)
    else:
        files = write_card(card(drawing, None, {"source": architecture}) | known(architecture), out, formats[to])
        result = {"files": files, "format": to, "loads": True, "max_logit_difference": None}
    if as_json:
        print_json(result)
        return
    say(*(f"Wrote {file}" for file in result["files"]))
    if result["max_logit_difference"] is not None:
        say(f"Loaded back as {result['format']}: logits differ by at most {result['max_logit_difference']:.1e}.")
