"""`l2m search STUDY`: from a corpus to an exported architecture."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from l2m_design.cli.terminal import DryRun, Json, Set, print_json, progress, say, table, warn


def command(
    study: Annotated[Path, typer.Argument(help="A study, as configs/quickstart.yaml.")],
    overrides: Set = [],  # noqa: B006 - typer copies it
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted search; it must exist.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; an earlier search is moved aside.")] = False,
    runs: Annotated[Path, typer.Option(help="Where databases, records and weights go.")] = Path("runs"),
    reports: Annotated[Path, typer.Option(help="Where the report and the chosen drawing go.")] = Path("reports"),
    tracking: Annotated[str | None, typer.Option(help="MLflow URI; by default a sqlite file here.")] = None,
    storage: Annotated[str | None, typer.Option(help="Database of trials; by default sqlite in --runs.")] = None,
    reselect: Annotated[
        bool, typer.Option("--reselect", help="Choose again from what is stored; nothing is trained.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Search architectures under the L²M condition; a search that was stopped goes on where it was."""
    from l2m_design.errors import BadInput
    from l2m_design.search.settings import load_study

    if fresh and resume:
        raise BadInput("--fresh and --resume exclude each other")
    settings, space = load_study(study, tuple(overrides))
    if storage:
        settings = settings.model_copy(update={"storage": storage})
    from l2m_design.report import words
    from l2m_design.search.run import Folders, Interrupted, Listener, Search
    from l2m_design.search.study.storage import shown
    from l2m_design.search.tracking import default_uri

    search = Search(settings, space, Folders(runs, reports), tracking or default_uri())
    if dry_run:
        _plan(search, space, as_json)
        return
    if reselect:
        from l2m_design.search.results.reselect import reselected

        summary = reselected(settings, search.storage_url, search.folder.path, search.report_folder, _trouble)
        _show(summary, as_json)
        return
    warn(*search.corpus.notes)
    try:
        with progress() as on_progress:
            listener = Listener(on_progress, lambda record: on_progress.note(words.trial(record)), _trouble)
            summary = search.run(fresh, resume, listener)
    except Interrupted as stopped:
        sets = [word for override in overrides for word in ("--set", override)]
        places = ["--runs", str(runs), "--reports", str(reports)] + (["--tracking", tracking] if tracking else [])
        places += ["--storage", shown(storage)] if storage else []
        again = shlex.join(["l2m", "search", str(study), *sets, *places, "--resume"])
        warn(f"l2m: interrupted: {stopped}; go on with: {again}")
        raise typer.Exit(1) from None
    _show(summary, as_json)


def _trouble(sentence: str) -> None:
    warn(f"l2m: {sentence}")


def _show(summary: dict[str, Any], as_json: bool) -> None:
    """Write the page and the choice, print what was found; exit 1 where nothing was chosen."""
    files = _write(summary)
    if as_json:
        left_out = ("records", "settings", "space")
        print_json({key: value for key, value in summary.items() if key not in left_out} | {"files": files})
    else:
        _print(summary, files)
    raise typer.Exit(0 if summary["chosen"] else 1)


def _write(summary: dict[str, Any]) -> list[str]:
    """The page and, when there is a choice, its card; answers the files."""
    from l2m_design.export.study import write_chosen
    from l2m_design.report.page import write_page

    write_page(summary, Path(summary["report"]))
    return [summary["report"], *write_chosen(summary, Path(summary["report"]).parent)]


def _print(summary: dict[str, Any], files: list[str]) -> None:
    from l2m_design.report import words

    seen: set[int] = set()
    rows = []
    for row in [summary["chosen"], *summary["front"], *summary["baselines"]]:
        if row is None or row["trial"] in seen:
            continue
        seen.add(row["trial"])
        name = row["design"] or f"trial {row['trial']}"
        loss = f"{row['loss']:.3f}" if row["loss"] is not None else f"{row['state']}: {row['reason']}"
        rows.append(
            [
                ("chosen: " if row is summary["chosen"] else "") + name,
                row["picture"],
                loss,
                words.estimate(row["difference"], sign=True),
                words.size(row["state_bytes"]),
                f"t^{row['growth_exponent']:.2f} " + words.MARKS[row["meets_growth"]],
                words.MARKS[row["meets_level"]],
            ]
        )
    length = summary["demand"]["terms"]["length"]
    table(
        [
            "design",
            "layers",
            "late loss, nats",
            "test loss - full attention",
            f"state at {length:,}",
            "growth",
            "level",
        ],
        rows,
    )
    trials, seconds = summary["trials"], summary["seconds"]
    say(
        *words.outcome(summary),
        f"{trials['complete']} trials complete, {trials['pruned']} pruned, {trials['infeasible']} rejected before "
        f"training, {trials['failed']} failed, {summary['duplicates']} drawn before, "
        f"in {seconds['total']:.0f} s ({seconds['training']:.0f} s training).",
        f"Report: {files[0]}",
        *(f"Chosen: {file}" for file in files[1:]),
        f"Trials and curves: mlflow ui --backend-store-uri {summary['tracking_uri']}",
    )
    warn(*summary["notes"])


def _plan(search: Any, space: Any, as_json: bool) -> None:
    settings = search.settings
    recipe, trials = settings.recipe, settings.search.trials
    plan = {
        "study": settings.name,
        "corpus": search.corpus.name,
        "training_tokens_in_corpus": search.corpus.documents("train").size,
        "drawings": space.resolved(settings.demand.beta or 0.7).drawings,
        "trials": trials,
        "steps_a_trial": recipe.steps,
        "tokens_a_trial": recipe.steps * recipe.batch * recipe.length,
        "tokens_at_most": trials * recipe.steps * recipe.batch * recipe.length,
        "training_flops_at_most": space.training_flops_per_token * trials * recipe.tokens,
        "runs": str(search.folder.path),
        "reports": str(search.report_folder),
    }
    if as_json:
        print_json(plan)
    else:
        say(
            *(
                f"{key.replace('_', ' ')}: {value:,}" if isinstance(value, int) else f"{key.replace('_', ' ')}: {value}"
                for key, value in plan.items()
            )
        )
