"""`l2m calibrate`: measure the capacity of a state element, in nats, for each mixer type."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.terminal import LABELS, Device, DryRun, Json, print_json, print_plan, progress, say, table, warn

if TYPE_CHECKING:
    from l2m_design.calibration.calibrate import CalibrationSettings, Row, Rows
    from l2m_design.calibration.eta import Size, Table
    from l2m_design.settings import Json as Plain


def command(
    out: Annotated[
        Path, typer.Option(help="File for the result, .yaml; rows.jsonl and a table are written beside it.")
    ] = Path("runs/calibration/eta.yaml"),
    kinds: Annotated[str | None, typer.Option(help="Mixer types, separated by commas. Default: all.")] = None,
    beta: Annotated[float, typer.Option(help="Exponent of the Santa Fe source.")] = 0.7,
    bits: Annotated[int, typer.Option(help="Bits of each fact of the source.")] = 4,
    lengths: Annotated[str, typer.Option(help="Window lengths in tokens, separated by commas.")] = "512,2048",
    steps: Annotated[int, typer.Option(help="Training steps of each run.")] = 600,
    batch_tokens: Annotated[int, typer.Option(help="Tokens of each training step.")] = 16384,
    seeds: Annotated[int, typer.Option(help="Number of runs for each size and learning rate.")] = 3,
    rates: Annotated[
        str, typer.Option(help="Learning rates, separated by commas; the best one is used.")
    ] = "0.006,0.012",
    device: Device = "auto",
    so_far: Annotated[
        bool, typer.Option("--so-far", help="Train nothing; compute the result from the finished runs.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Measure how many nats a state element of each mixer type carries, on a source whose information is known.

    Small models of several state sizes are trained on the Santa Fe source. Every finished run is stored; the same
    command continues an interrupted calibration.
    """
    from l2m_design.calibration.calibrate import CalibrationSettings, Rows
    from l2m_design.errors import BadInput
    from l2m_design.settings import parse_yaml

    given: Plain = {
        "beta": beta,
        "bits": bits,
        "lengths": parse_yaml(f"[{lengths}]", "--lengths"),
        "steps": steps,
        "batch_tokens": batch_tokens,
        "seeds": seeds,
        "rates": parse_yaml(f"[{rates}]", "--rates"),
    }
    if kinds is not None:
        given["kinds"] = kinds.replace(",", " ").split()
    settings = CalibrationSettings.parse(given, "calibrate")
    if out.suffix not in (".yaml", ".yml"):
        raise BadInput(f"--out {out}: the file name must end in .yaml")
    rows = Rows(out.with_name("rows.jsonl"))
    if dry_run:
        _plan(settings, rows, as_json)
        return
    _answer(settings, _ended(settings, rows) if so_far else _trained(settings, rows, device), rows, out, as_json)


def _ended(settings: "CalibrationSettings", rows: "Rows") -> "list[Row]":
    from l2m_design.calibration.calibrate import ended
    from l2m_design.errors import BadInput

    if not (found := ended(settings, rows)):
        raise BadInput(f"--so-far: {rows.path} contains no finished run with these settings")
    return found


def _trained(settings: "CalibrationSettings", rows: "Rows", device: str) -> "list[Row]":
    from l2m_design.calibration.calibrate import jobs, measured
    from l2m_design.model.backends import pick_device

    again = shlex.join(["l2m", *sys.argv[1:]])
    try:
        with progress() as on_progress:
            return measured(settings, rows, pick_device(device), on_progress, lambda row: on_progress.note(_line(row)))
    except KeyboardInterrupt:
        total = len(list(jobs(settings)))
        warn(f"l2m: interrupted: the finished runs of {total} are stored in {rows.path}; continue with: {again}")
        raise typer.Exit(1) from None


def _answer(settings: "CalibrationSettings", found: "list[Row]", rows: "Rows", out: Path, as_json: bool) -> None:
    from l2m_design.calibration.eta import sizes_of, summary_of, write_eta

    summary = summary_of(settings, found, shlex.join(["l2m", *sys.argv[1:]]))
    if not summary["nats_by_kind"]:
        warn(f"l2m: no mixer type captured information at two state sizes of every length; {out} is left unchanged")
    files = [*(write_eta(summary, out) if summary["nats_by_kind"] else []), str(rows.path)]
    if as_json:
        print_json({key: value for key, value in summary.items() if key != "rows"} | {"files": files})
    else:
        _print(sizes_of(found), summary, files)
    raise typer.Exit(0 if summary["nats_by_kind"] else 1)


def _line(row: "Row") -> str:
    found = row.found
    name = f"{row.job['kind']} {row.job['size']}, learning rate {row.job['rate']:g}, seed {row.job['seed']}"
    if "failed" in found:
        return f"{name}: failed: {found['failed']}"
    return (
        f"{name}: captured {found['captured_nats']:.2f} of {found['exact_nats']:.2f} nats in "
        f"{found['elements']:,} state elements, "
        f"{found['seconds']:.0f} s"
    )


def _plan(settings: "CalibrationSettings", rows: "Rows", as_json: bool) -> None:
    from l2m_design.calibration.calibrate import architecture_of, jobs, missing

    todo = missing(settings, rows)
    recipes = {length: settings.recipe(length, settings.rates[0], 0) for length in settings.lengths}
    vocabularies = {length: settings.source(length).vocabulary for length in settings.lengths}
    flops = sum(
        3 * architecture_of(job, vocabularies[job["length"]]).flops(recipe.length) * recipe.steps * recipe.batch
        for job in todo
        for recipe in [recipes[job["length"]]]
    )
    plan = {
        "kinds": list(settings.kinds),
        "runs": len(list(jobs(settings))),
        "runs_kept": len(list(jobs(settings))) - len(todo),
        "steps_a_run": settings.steps,
        "tokens_a_run": max(recipe.spent for recipe in recipes.values()),
        "training_flops": flops,
        "exact_nats": {str(length): settings.exact(length) for length in settings.lengths},
        "rows": str(rows.path),
    }
    if as_json:
        print_json(plan)
    else:
        plan["kinds"] = ", ".join(settings.kinds)
        print_plan(plan, LABELS | {"runs": "runs", "runs_kept": "of which finished"})


def _print(sizes: "list[Size]", summary: "Table", files: list[str]) -> None:
    from l2m_design.calibration.eta import sentences

    table(
        [
            "mixer type",
            "size",
            "window",
            "state elements",
            "captured, nats",
            "share of exact",
            "nats per element",
            "learning rate",
            "failed runs",
        ],
        [
            [
                size.kind,
                size.size,
                f"{size.length:,}",
                f"{size.elements:,}",
                " ".join(f"{value:.1f}" for value in size.captured) or "-",
                f"{size.share:.0%}",
                f"{size.eta:.3g}",
                "-" if size.rate is None else f"{size.rate:g}",
                f"{size.failed}" if size.failed else "",
            ]
            for size in sizes
        ],
    )
    say(
        "Capacity per state element by mixer type, nats (estimate [low: at the smallest state that captured enough, "
        "high: most that any state captured]):",
        *sentences(summary),
        "Measured on one source with one training budget; longer training or larger facts may give higher values.",
        *(f"Wrote {file}" for file in files),
    )
