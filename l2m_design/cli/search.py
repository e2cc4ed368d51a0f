"""`l2m search STUDY`: search architectures for a corpus and export the chosen one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli import adopted
from l2m_design.cli.status import live
from l2m_design.cli.terminal import DryRun, Json, Set, print_json, print_plan, runs_in_mlflow, say, table, warn

if TYPE_CHECKING:
    from l2m_design.library.search import StudySummary
    from l2m_design.search.results.values import AtLength, Finalist, Summary, TrialRow
    from l2m_design.search.run import Search


def command(
    study: Annotated[Path | None, typer.Argument(help="YAML file of a study, such as configs/quickstart.yaml.")] = None,
    overrides: Set = [],  # noqa: B006 - typer copies it
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted search; fail if there is none to continue.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start again; files of an earlier search are renamed and kept.")
    ] = False,
    runs: Annotated[Path, typer.Option(help="Folder for databases, records and weights.")] = Path("runs"),
    reports: Annotated[Path, typer.Option(help="Folder for the report and the chosen architecture.")] = Path("reports"),
    tracking: Annotated[
        str | None,
        typer.Option(help="MLflow tracking URI.", show_default="MLFLOW_TRACKING_URI, else a SQLite file here"),
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Optuna storage URL for the trials.", show_default="a SQLite file in --runs")
    ] = None,
    reselect: Annotated[
        bool, typer.Option("--reselect", help="Choose again among the stored results; train nothing.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of studies and stop.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Search for the architecture with the smallest state that keeps up with the data and meets the L²M condition.

    A study with the key `start` searches for the smallest KV cache of a trained model. The same command continues
    an interrupted search.
    """
    from l2m_design.errors import BadInput

    if schema:
        from l2m_design.search import study_schema

        print_json(study_schema.schema())
        return
    if study is None:
        raise BadInput("STUDY: give the YAML file of a study, such as configs/quickstart.yaml, or --schema")
    if fresh + resume + reselect > 1:
        raise BadInput("--fresh, --resume and --reselect: give only one of them")
    from l2m_design.search.adoption.settings import is_adoption

    how = adopted.SearchOptions(runs, reports, tracking, fresh, resume, dry_run, reselect, as_json)
    if not is_adoption(study):
        _architectures(study, overrides, how, storage)
    elif storage:
        raise BadInput("--storage: a study with the key start stores its results in --runs; leave the option out")
    else:
        adopted.search(study, overrides, how)


def _architectures(study: Path, overrides: list[str], how: "adopted.SearchOptions", storage: str | None) -> None:
    """Search a space of architectures, or print what would run."""
    from l2m_design.library.search import finished, open_study
    from l2m_design.library.search import reselect as choose_again
    from l2m_design.report import words
    from l2m_design.search.driver import Listener
    from l2m_design.search.run import Interrupted
    from l2m_design.search.study.database import shown

    work = open_study(study, overrides, runs=how.runs, reports=how.reports, tracking=how.tracking, storage=storage)
    if how.dry_run:
        _plan(work, how.as_json)
        return
    if how.reselect:
        _show(choose_again(work, Listener(trouble=_trouble)), how.as_json)
        return
    warn(*work.corpus.notes)
    try:
        with live() as below:
            listener = Listener(below.bars, below.bars, lambda r: below.note(words.trial(r)), _trouble, below.show)
            summary = work.run(how.fresh, how.resume, listener)
    except Interrupted as stopped:
        kept = ["--storage", shown(storage)] if storage else []
        warn(f"l2m: interrupted: {stopped}; continue with: {how.resume_command(study, overrides, kept)}")
        raise typer.Exit(1) from None
    _show(finished(work, summary), how.as_json)


def _trouble(sentence: str) -> None:
    warn(f"l2m: {sentence}")


def _show(found: "StudySummary", as_json: bool) -> None:
    """Print the result; exit with code 1 if no architecture was chosen."""
    if as_json:
        left_out = ("records", "settings", "space")
        told = {key: value for key, value in found.data.items() if key not in left_out}
        print_json(told | {"files": found.files, "runs_page": found.runs_page})
    else:
        _print(found.found, found.files)
        runs_in_mlflow(found.found.tracking_uri, found.runs_page)
    raise typer.Exit(0 if found.chosen else 1)


def _print(summary: "Summary", files: list[str]) -> None:
    from l2m_design.report import words

    length = f"{summary.demand.terms.length:,}"
    titles = [
        "layers",
        f"late loss, nats ({'test' if summary.finalists else 'validation'})",
        "minus reference",
        "effective context",
        f"state at {length}",
        "growth condition",
        "capacity condition",
    ]
    if summary.finalists:
        table([f"finalist, {summary.choice.length:,} tokens", *titles], _finalist_rows(summary))
    else:
        table(["trial", *titles], _trial_rows(summary))
    trials, seconds = summary.trials, summary.seconds
    say(
        *words.outcome(summary),
        f"{trials.complete} trials complete, {trials.pruned} pruned, {words.rejected(summary)}, "
        f"{trials.failed} failed, {summary.duplicates} duplicates, "
        + (f"in {seconds.total:.0f} s ({seconds.training:.0f} s training)." if seconds.total else "all stored before."),
        f"Report: {files[0]}",
        *(f"Chosen: {file}" for file in files[1:3]),
        *(f"Tokenizer: {file}" for file in files[3:]),
    )
    warn(*summary.notes)


def _trial_rows(summary: "Summary") -> list[list[str]]:
    """Return rows for the chosen trial, the Pareto front and the baselines, each trial once."""
    rows, seen = [], set[int | None]()
    for row in [summary.chosen, *summary.front, *summary.baselines]:
        if row is None or row.trial in seen:
            continue
        seen.add(row.trial)
        loss = f"{row.loss:.3f}" if row.loss is not None else f"{row.state}: {row.reason}"
        rows.append(_cells(("chosen: " if row is summary.chosen else "") + row.name, row, loss, row))
    return rows


def _finalist_rows(summary: "Summary") -> list[list[str]]:
    """Return a row for every finalist at the length of the choice, the chosen one first."""
    chosen = summary.chosen.fingerprint if summary.chosen else None
    rows = []
    for row in sorted(summary.finalists, key=lambda row: row.fingerprint != chosen):
        at = row.lengths.get(summary.choice.length)
        name = ("chosen: " if row.fingerprint == chosen else "") + row.name
        loss = f"{at.test_loss:.3f}" if at else f"failed: {', '.join(row.failed)}"
        rows.append(_cells(name, row, loss, at))
    return rows


def _cells(name: str, row: "TrialRow | Finalist", loss: str, found: "TrialRow | AtLength | None") -> list[str]:
    """Return the cells of a row. found: what was measured, in the trial or at the length of the choice."""
    from l2m_design.report import words
    from l2m_design.report.words import size

    reached = found.effective_context if found else None
    return [
        name,
        row.picture,
        loss,
        words.estimate(found.difference if found else None, sign=True),
        "-" if reached is None else f"{reached:,}",
        size(row.state_bytes),
        f"t^{row.growth_exponent:.2f} " + words.MARKS[row.meets_growth],
        words.MARKS[row.meets_level],
    ]


def _plan(search: "Search", as_json: bool) -> None:
    from l2m_design.report import words
    from l2m_design.search.results.finalists import tokens_at_most
    from l2m_design.search.space.known import known_designs

    settings, space = search.settings, search.space
    recipe, trials = settings.recipe, settings.search.trials
    resolved = space.resolved(settings.demand.beta or 0.7)
    designs = len(known_designs(resolved, settings.demand.beta or 0.7)) if settings.search.known_designs else 0
    named = settings.finalists.baselines if settings.finalists else None
    again = designs if named is None else min(designs, len(named) + 1)  # the best of all trials may be another
    baselines = designs * len(settings.search.rates)
    tokens, troubles = tokens_at_most(settings, baselines, again), search.rehearse()
    cost = search.cost()
    plan = {
        "study": settings.name,
        "corpus": search.corpus.name,
        "training_tokens_in_corpus": search.corpus.documents("train").size,
        "drawings": resolved.drawings,
        "baselines": baselines,
        "trials": trials,
        "steps_a_trial": recipe.steps,
        "tokens_a_trial": recipe.spent,
        "tokens_at_most": tokens,
        "training_flops_at_most": space.training_flops_per_token * tokens,
        "cost": cost.plain(),
        "runs": str(search.folder.path),
        "reports": str(search.report_folder),
    }
    if as_json:
        print_json(plan)
    else:
        warn(*(f"l2m: {trouble}" for trouble in troubles))
        print_plan({key: value for key, value in plan.items() if key != "cost"})
        say(*words.cost(cost))
