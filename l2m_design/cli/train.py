"""`l2m train ARCHITECTURE`: train one architecture on a corpus and print its losses."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.terminal import Device, DryRun, Json, Set, print_json, print_plan, progress, say, warn

if TYPE_CHECKING:
    from l2m_design.corpus import Corpus
    from l2m_design.training.result import Result
    from l2m_design.training.trained import Trained, Training


Processes = Annotated[
    int, typer.Option(min=1, help="Data-parallel processes; each uses one GPU, or a share of the CPU threads.")
]

Tracking = Annotated[
    str | None, typer.Option(help="MLflow tracking URI to log the run to, such as sqlite:///mlflow.db.")
]


def command(
    architecture: Annotated[str, typer.Argument(help="Architecture, as a YAML file or a card.")],
    corpus: Annotated[
        str, typer.Option(help="Corpus to train on: stdlib, santa-fe:beta=0.7, a file, folder or glob, ...")
    ] = "stdlib",
    overrides: Set = [],  # noqa: B006 - typer copies it
    tokenizer: Annotated[
        str | None, typer.Option(help="For text: bytes, bpe:SIZE, or a Hugging Face tokenizer.", show_default="bytes")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for weights, architecture, tokenizer and result. Default: not saved.")
    ] = None,
    device: Device = "auto",
    processes: Processes = 1,
    tracking: Tracking = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train one architecture on a corpus and print its loss on held-out documents.

    The training settings are those of `recipe` in a study; change them with --set, as in --set tokens=1000000 --set
    length=1024. With --out, the same command continues an interrupted run from its last checkpoint.
    """
    from l2m_design.architecture import Architecture
    from l2m_design.corpus import open_corpus
    from l2m_design.library.tracked import check_store
    from l2m_design.settings import override
    from l2m_design.training.recipe import Recipe
    from l2m_design.training.trained import Training

    design = Architecture.load(architecture)
    recipe = Recipe.parse(override({}, overrides), "--set")
    spec = (corpus, tokenizer)
    work = Training(design, open_corpus(*spec), recipe, out, architecture, processes, spec)
    if tracking:
        check_store(tracking)
    if dry_run:
        plan = work.plan()
        print_json(plan) if as_json else print_plan(plan)
        return
    trained = _run(work, device, tracking)
    files = trained.save(out) if out else []
    print_json(trained.plain() | {"files": files}) if as_json else _print(trained, files)


def _run(work: "Training", device: str, tracking: str | None) -> "Trained":
    """Train; when interrupted, print what was saved and exit with code 1."""
    from l2m_design.library.train import run_tracked

    picture = work.architecture.picture
    if work.begun:
        warn(f"l2m: {work.out}: continuing the unfinished run in this folder")
    try:
        with progress() as shown:
            trained, trouble = run_tracked(work, device, tracking, lambda done, total: shown(picture, done, total))
    except KeyboardInterrupt:
        if not work.out:
            raise
        kept = work.kept_steps
        saved = f"{kept:,} of {work.recipe.steps:,} steps are saved; run the same command to continue"
        warn(f"l2m: interrupted: {saved if kept else 'nothing was trained yet'}")
        raise typer.Exit(1) from None
    if trouble:
        warn(f"l2m: tracking: {trouble}")
    return trained


def _print(trained: "Trained", files: list[str]) -> None:
    result = trained.result
    say(
        f"{trained.model.architecture.picture}: late loss {result.late_loss:.4f} nats per token (validation), "
        f"{result.test_late_loss:.4f} (test), "
        f"after {result.tokens:,} tokens in {result.train_seconds:.0f} s on {result.device}",
        *_of_source(result, trained.corpus, trained.recipe.length),
        *(f"Kernel: {sentence}" for sentence in result.kernels),
        *(f"Wrote {file}" for file in files),
    )


def _of_source(result: "Result", source: "Corpus", length: int) -> list[str]:
    """Return sentences about context: gains, captured mutual information where it is defined, excess over Bayes."""
    from math import log

    from l2m_design.corpus.synthetic import is_exact, knows_information
    from l2m_design.training.result import context_gains, effective_context

    found = []
    if gains := context_gains(result):
        each = ", ".join(f"{c:,}: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" for c, gain in gains.items())
        found.append(f"Gain from context beyond c tokens, nats per token: {each}")
        reached = effective_context(gains)
        found.append(
            f"Effective context: {reached:,} tokens"
            if reached
            else f"No gain from context beyond {min(gains):,} tokens"
        )
    if knows_information(source) or not is_exact(source):
        found.append(f"Mutual information captured at n = {length // 2}: {result.mi_captured_nats:.1f} nats")
    if result.late_excess_nats is not None:
        bits = result.late_excess_nats / log(2)
        found.append(f"Excess over the Bayes loss: {bits:.4f} bits per scored token in the second half of windows")
    return found
